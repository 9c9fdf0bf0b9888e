"""Charts of single results: `compress plot RESULT... --kind KIND --out FILE`, without torch.

Each kind has a file. Its `draw` takes the results with their paths and returns a figure. Missing data is an InputError
of one sentence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

from compress.analysis.among import read_among
from compress.analysis.verdict import same_point
from compress.base.config import InputError, did_you_mean
from compress.base.errors import gathered
from compress.base.files import write_atomic
from compress.base.places import new_file
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
"""Name of a kind -> the module that draws it."""
FORMS = {".png": canvas.png, ".svg": canvas.svg}
MOST = 6
"""Most results in one chart: more cannot be distinguished."""


@dataclass(frozen=True)
class Source:
    """A result that did not fail, and the file it was read from."""

    path: Path
    result: Result

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.result.name

    @property
    def headline(self) -> Point:
        """The result's headline point. Raises InputError if it has none."""
        point = self.result.headline
        if point is None:
            raise InputError(f"{self.path}: has no headline point; run the recipe again")
        return point

    @property
    def reference(self) -> Reference:
        """The reference of the result's verdict. Raises InputError if it has none."""
        reference = self.result.verdict_reference
        if reference is None:
            raise InputError(f"{self.path}: has no reference; run the recipe again")
        return reference

    def baseline_point(self, point: Point) -> Point:
        """Return the reference's point of the same shape. Raises InputError if it was not measured."""
        same = next((p for p in self.reference.points if same_point(p, point)), None)
        if same is None:
            raise InputError(f"{self.path}: {self.reference.name} was not measured at the same point")
        return same


def write_chart(paths: Sequence[Path], kind: str, out: Path) -> Path:
    """Draw results into a file and return its path. Raises InputError if that is impossible or `out` not writable."""
    if kind not in KINDS:
        raise InputError(f"--kind {kind}: expected one of {', '.join(KINDS)}{did_you_mean(kind, KINDS)}")
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
    """Read a result. Raises InputError if the recipe failed."""
    result = read_among(path).result
    if result.error is not None:
        raise InputError(f"{path}: the recipe failed ({first_line(result)}); there is nothing to draw")
    return Source(path, result)


def of_one_session(sources: Sequence[Source]) -> None:
    """Check that results are of one session, so that they can share an axis. Raises InputError if they are not."""
    sessions = sorted({s.result.session for s in sources})
    if len(sessions) > 1:
        raise InputError(
            f"results of several sessions ({', '.join(sessions)}): their joules and seconds cannot share an axis; draw "
            "one session at a time, or measure the recipes together"
        )
