"""A workload: the model, the data, the metric, the operating points.

A workload is a YAML file. Its model and data are hub ids, folders and files, or `offline:NAME`. An offline workload is
built on this machine from parts of every Python installation (see `offline`), and then used like any other folder.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

import recipes
from compress.analysis.metrics import lm_eval_task
from compress.base.config import NAME, InputError, suggestion_or_list, validate
from compress.base.reading import exists, resolved, shortened
from compress.base.yaml import parse_yaml, read_text
from compress.data.point import FEWEST_TOKENS, OperatingPoint
from compress.data.scored import Scored
from compress.data.tasks import names_where, task_of
from compress.spec.recipe import WORKLOAD_FIELDS, Recipe

SHIPPED = recipes.FOLDER / "workloads"
OFFLINE = "offline:"


class Workload(Scored):
    """The model, the data, the metric and the operating points."""

    several_lines = ("dataset.delimiter", "prompt", "query_prompt", "document_prompt")

    headline: OperatingPoint | None = None
    """Operating point for verdicts; unset: batch 8, length 64 (384 for questions; max_length if shorter); for
    language models decode with batch 1 after 64 tokens."""
    points: tuple[OperatingPoint, ...] = ()
    """Further operating points. Text classification always measures a natural one: the first of these, or the default
    (the headline's batch size, texts as they come)."""
    mapped: tuple[OperatingPoint, ...] = Field(
        default=(), exclude_if=lambda value: not value, json_schema_extra={"internal": True}
    )
    """Points of `compress map`, measured after all others. They may be longer than max_length, since accuracy is not
    evaluated at them. A language model's are decode unless they state another phase."""
    for_training: bool = Field(default=False, exclude_if=lambda value: not value, json_schema_extra={"internal": True})
    """Whether the examples are those of training and calibration, which need no answers for some tasks."""
    writes: bool = Field(default=False, exclude_if=lambda value: not value, json_schema_extra={"internal": True})
    """Whether the model writes token by token, of a task with models that do and models that do not; set when the model
    is found."""
    trust_remote_code: bool = False
    """Run the code that a hub model contains; set it only after reading that code."""

    @model_validator(mode="after")
    def _points_fit(self) -> "Workload":
        task = task_of(self.task)
        own = (*((self.headline,) if self.headline else ()), *self.points)
        for point in (*own, *self.mapped):
            if point.phase is not None and not (task.generates or task.writing_headline):
                raise ValueError(
                    f"phase {point.phase}: only language models ({names_where('continues')}) have phases, and "
                    f"encoder-decoders ({names_where('encodes')})"
                )
            if point.audio_s is None if task.headline.audio_s else point.audio_s:
                raise ValueError(
                    f"audio_s {point.audio_s}: {names_where('reads_sound')} alone reads sound, and needs its seconds "
                    "(audio_s) at every point"
                )
            if point.natural is not None and not task.natural:
                raise ValueError(
                    f"natural {point.natural}: only {names_where('natural')} has texts of their own lengths"
                )
            if point.natural is not None and point is self.headline:
                raise ValueError("headline natural: verdicts are for batches of one shape; put it into points")
            if point.phase == "prefill" and point is self.headline:
                raise ValueError("headline prefill: verdicts are for decode or generate; put it into points")
            if point.stop and point is self.headline:
                raise ValueError("headline stop: models stop after different numbers of tokens; put it into points")
            if task.has_lengths and (point.sequence_length or 0) > self.max_length and point in own:
                raise ValueError(f"sequence_length {point.sequence_length} is over max_length {self.max_length}")
        return self

    @classmethod
    def load(cls, name_or_path: str | Path) -> "Workload":
        """Return the workload of this name or file; paths in a file are relative to it."""
        path = find(str(name_or_path))
        data, source = parse_yaml(read_text(path, "workload"), str(path))
        if not WORKLOAD_FIELDS & data.keys() and data.keys() & (Recipe.model_fields.keys() - cls.model_fields.keys()):
            raise InputError(f"{path}: is a recipe; expected a workload; use: run {path} --workload WORKLOAD")
        workload = validate(cls, {"name": path.stem, **data}, source)
        dataset = workload.dataset.model_copy(update={"path": _locate(workload.dataset.path, path.parent)})
        return workload.model_copy(
            update={
                "model": _locate(workload.model, path.parent),
                "metric": _located_metric(workload.metric, path.parent),
                "dataset": dataset,
            }
        )

    @property
    def of_training(self) -> "Workload":
        """The workload with the examples of training and calibration: strided windows would repeat their tokens."""
        return self.model_copy(update={"windows": "blocks", "stride": None, "for_training": True})

    @property
    def generates(self) -> bool:
        """Whether the model writes token by token, and its operating points have a phase."""
        return task_of(self.task).generates or self.writes

    @property
    def headline_point(self) -> OperatingPoint:
        """The headline point, or the task's default. A language model's is decode unless it states another phase."""
        task = task_of(self.task)
        default = (self.writes and task.writing_headline) or task.headline
        if self.headline:
            return self.headline.in_phase(default.phase or "decode") if self.generates else self.headline
        if default.sequence_length is None:
            return default
        longest = max(FEWEST_TOKENS, self.max_length - (default.new_tokens or 0))
        return default.model_copy(update={"sequence_length": min(default.sequence_length, longest)})

    @property
    def further_points(self) -> tuple[OperatingPoint, ...]:
        """The further points. A language model's are prefill unless they state another phase."""
        return tuple(p.in_phase("prefill") for p in self.points) if self.generates else self.points

    @property
    def mapped_points(self) -> tuple[OperatingPoint, ...]:
        """The points of a map. A language model's are decode unless they state another phase."""
        return tuple(p.in_phase("decode") for p in self.mapped) if self.generates else self.mapped

    @property
    def prefill_point(self) -> OperatingPoint | None:
        """The point at which a language model's time to the first token is stated: the first prefill one.

        By default it reads the headline's context. None for other tasks.
        """
        if not self.generates:
            return None
        headline = self.headline_point
        default = headline.model_copy(update={"phase": "prefill", "new_tokens": None})
        return next((point for point in self.further_points if point.phase == "prefill"), default)

    @property
    def natural_point(self) -> OperatingPoint | None:
        """The point at which costs per example and per correct answer are stated: the first natural one.

        None for tasks whose headline point already has the examples' own shape, or that join texts.
        """
        if not task_of(self.task).natural:
            return None
        default = OperatingPoint(batch_size=self.headline_point.batch_size, natural="as_they_come")
        return next((point for point in self.points if point.natural is not None), default)

    def measured_points(self, which: Literal["headline", "all"], examples: int | None = None) -> list[OperatingPoint]:
        """Return the points to measure, each once: the headline, its companion, for `all` the further ones, the map's.

        The companion is the natural point of texts, and the prefill point of a language model.

        Batches of natural points have at most `examples`, the size of the test split. Equal points are then one.
        """
        companion = self.natural_point or self.prefill_point
        further = self.further_points if which == "all" else ()
        points = (self.headline_point, *([companion] if companion else []), *further, *self.mapped_points)
        return list(dict.fromkeys(point.fitted(examples) for point in points))

    @property
    def protocol(self) -> str:
        """How examples are scored, for readers of the metric; empty for a task with one way."""
        if asked := self.harness_task:
            return lm_eval_task.load(asked).protocol
        return task_of(self.task).protocol(self)


def _locate(value: str, folder: Path) -> str:
    """Return `value` as an absolute path if it exists in the file's folder; hub ids and absolute paths stay."""
    if not value or value.startswith(OFFLINE) or Path(value).is_absolute():
        return value
    path = resolved(folder / value)
    if exists(path) or value.startswith("."):
        return str(path)
    return value


def _located_metric(value: str, folder: Path) -> str:
    """Return a metric with the path of its file, or of the task file that it names, relative to the folder."""
    asked = lm_eval_task.parse(value)
    if asked is not None and asked.task.endswith((".yaml", ".yml")):
        located = _locate(asked.task, folder)
        return f"{lm_eval_task.PREFIX}{located}{f':{asked.metric}' if asked.metric else ''}"
    return _locate(value, folder) if value.endswith(".py") else value


def names() -> list[str]:
    """Return the names of the shipped workloads."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def find(name: str) -> Path:
    """Return the file of a workload, given by path or by the name of a shipped workload."""
    path = Path(name)
    if name and (exists(path) or path.suffix in (".yaml", ".yml") or "/" in name):
        return path
    shipped = SHIPPED / f"{name}.yaml"
    if not NAME.fullmatch(name) or not shipped.is_file():
        raise InputError(
            f"{shortened(name) or repr(name)}: no such file and no shipped workload{suggestion_or_list(name, names())}"
        )
    return shipped
