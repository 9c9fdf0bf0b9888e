"""Pictures of single results beside the Pareto picture: `compress plot RESULT... --kind KIND --out FILE`. Never torch.

One file a kind. Each takes the results with where they were read from, and returns a figure; what it needs and does not
find it says in one sentence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

from compress.analysis.verdict import same_point
from compress.base.config import InputError
from compress.base.errors import gathered
from compress.base.files import write_atomic
from compress.base.places import new_file
from compress.records.files import read
from compress.records.result import Point, Reference, Result
from compress.report.charts import canvas
from compress.report.text import first_line

KINDS: dict[str, str] = {
    "break-even": "breakeven",
    "points": "points",
    "layers": "layers",
    "trace": "power",
    "rounds": "rounds",
}
"""What a kind is called -> the module that draws it."""
FORMS = {".png": canvas.png, ".svg": canvas.svg}
MOST = 6
"""More results than that in one picture can no longer be told apart."""


@dataclass(frozen=True)
class Source:
    """A result that did not fail, and the file it was read from."""

    path: Path
    result: Result

    @property
    def name(self) -> str:
        """The recipe's."""
        return self.result.name

    @property
    def headline(self) -> Point:
        """Its headline point. Raises InputError where it has none."""
        found = self.result.headline
        if found is None:
            raise InputError(f"{self.path}: has no headline point; run the recipe again")
        return found

    @property
    def reference(self) -> Reference:
        """What its verdict is spoken against. Raises InputError where it has none."""
        found = self.result.verdict_reference
        if found is None:
            raise InputError(f"{self.path}: has no reference; run the recipe again")
        return found

    def theirs(self, point: Point) -> Point:
        """The reference's point of the same shape."""
        found = next((p for p in self.reference.points if same_point(p, point)), None)
        if found is None:
            raise InputError(f"{self.path}: {self.reference.name} was not measured at the same point")
        return found


def write_chart(paths: Sequence[Path], kind: str, out: Path) -> Path:
    """Draws results into a file and returns its path. Raises InputError for what cannot be drawn, or not written."""
    if kind not in KINDS:
        raise InputError(f"--kind {kind}: expected one of {', '.join(KINDS)}")
    new_file(out, "--out", [*FORMS], paths)
    if len(paths) > MOST:
        raise InputError(f"{len(paths)} results: expected {MOST} at most in one picture")
    sources = gathered(partial(_source, path) for path in paths)
    figure = import_module(f"compress.report.charts.{KINDS[kind]}").draw(sources)
    try:
        write_atomic(out, FORMS[out.suffix.lower()](figure))
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written ({error.strerror})") from None
    return out


def _source(path: Path) -> Source:
    result = read(path)
    if result.error is not None:
        raise InputError(f"{path}: the recipe failed ({first_line(result)}); there is nothing to draw")
    return Source(path, result)


def of_one_session(sources: Sequence[Source]) -> None:
    """Raises InputError for results of several sessions: their joules and seconds share no axis."""
    sessions = sorted({s.result.session for s in sources})
    if len(sessions) > 1:
        raise InputError(
            f"results of several sessions ({', '.join(sessions)}): their joules and seconds cannot share an axis; draw "
            "one session at a time, or measure the recipes together"
        )
