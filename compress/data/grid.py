"""The grid of `compress map`: every batch size with every length, as points of a workload.

                length 32    length 128    length 512
    batch 1         .            .             .
    batch 8         .            .             .          a point each, after the workload's headline
    batch 32        .            .             .

For a language model the length is the context: tokens in the cache of a decode point, or in the prompt of a prefill.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from compress.base.config import InputError
from compress.base.reading import shortened
from compress.data.point import FEWEST_TOKENS, MOST_EXAMPLES, MOST_TOKENS, NEW_TOKENS, OperatingPoint
from compress.data.tasks import names_where, task_of
from compress.data.workload import Workload

MOST_POINTS = 100
MOST_DIGITS = 9
GridPhase = Literal["decode", "prefill"]


@dataclass(frozen=True)
class Grid:
    """Batch sizes and lengths, both ascending."""

    batch_sizes: tuple[int, ...]
    lengths: tuple[int, ...] | None = None
    """Tokens per text; None: the length of the workload's headline, and images."""
    phase: GridPhase | None = None
    """Phase of a language model's points; None: decode."""

    @classmethod
    def parse(cls, batch: str, length: str | None = None, phase: str | None = None) -> "Grid":
        """Return the grid that the options of the command line state. Raises one InputError with all problems."""
        problems: list[str] = []
        sizes = _counts(batch, "--batch", 1, MOST_EXAMPLES, "1,8,32", problems)
        lengths = None
        if length is not None:
            lengths = _counts(length, "--length", FEWEST_TOKENS, MOST_TOKENS, "32,128,512", problems)
        if phase is not None and phase not in get_args(GridPhase):
            problems.append(f"--phase {shortened(phase)}: expected {' or '.join(get_args(GridPhase))}")
        if (count := len(sizes) * len(lengths or (0,))) > MOST_POINTS:
            problems.append(f"--batch x --length: {count} points; expected at most {MOST_POINTS}")
        if problems:
            raise InputError(problems)
        return cls(sizes, lengths, phase)  # type: ignore[arg-type]  # checked above

    def on(self, workload: Workload) -> Workload:
        """Return the workload with the grid's points. Raises InputError if its task has no lengths or no phases."""
        task, headline = task_of(workload.task), workload.headline_point
        if self.lengths is not None and not task.has_lengths:
            raise InputError(
                f"--length: {workload.name} is of {workload.task}, whose inputs have no length in tokens; leave it out"
            )
        if self.phase is not None and not task.generates:
            raise InputError(
                f"--phase {self.phase}: {workload.name} is of {workload.task}; only language models "
                f"({names_where('generates')}) have phases: leave it out"
            )
        phase = (self.phase or "decode") if task.generates else None
        # the headline's number of tokens: a point of the grid with its shape is then the headline itself
        new_tokens = (headline.new_tokens or NEW_TOKENS) if phase == "decode" else None
        lengths = (headline.sequence_length,) if self.lengths is None else self.lengths
        points = tuple(
            OperatingPoint(
                batch_size=batch_size,
                sequence_length=length,
                audio_s=headline.audio_s,
                phase=phase,
                new_tokens=new_tokens,
            )
            for batch_size in self.batch_sizes
            for length in lengths
        )
        return workload.model_copy(update={"mapped": points})


def _counts(text: str, option: str, least: int, most: int, example: str, problems: list[str]) -> tuple[int, ...]:
    """Return numbers separated by commas, sorted. Adds a sentence to `problems` for each that is not usable."""
    found: list[int] = []
    for part in (part.strip() for part in text.split(",")):
        if not (part.isascii() and part.isdigit()) or len(part) > MOST_DIGITS:
            problems.append(
                f"{option} {shortened(text)}: {shortened(part)!r} is not a whole number; expected such as {example}"
            )
        elif not least <= int(part) <= most:
            problems.append(f"{option} {shortened(text)}: {part} is not between {least} and {most:,}")
        elif int(part) in found:
            problems.append(f"{option} {shortened(text)}: {part} is there twice; give each once")
        else:
            found.append(int(part))
    return tuple(sorted(found))
