"""The measured figures of a result, computed again from the raw samples beside it, on a machine without the device.

Integers must be identical, statistics within 1e-9 relative: numpy's logarithm differs between processors.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any

from compress.analysis import figures
from compress.analysis.figures import Raw
from compress.analysis.price import transform
from compress.analysis.verdict import judged
from compress.base.config import InputError
from compress.records import files as result_files
from compress.records import trace
from compress.records.result import Accuracy, Result
from compress.records.session import Session

TOLERANCE = 1e-9
COPIED = (
    "not recomputed, no raw samples hold them: sizes, kernels, layers, notes, carbon, and what is said of recipe, "
    "workload, machine and artifact"
)
"""What `verify` cannot say anything about."""


@dataclass(frozen=True)
class Verified:
    """How a result compares with its raw samples."""

    path: Path
    figures: int
    """Numbers, words and sentences that were compared."""
    differences: tuple[str, ...]


def verify(path: Path) -> Verified:
    """Compares a result file with its trace. Raises InputError when either cannot be read, or there is no trace."""
    stored = result_files.read(path)
    if stored.error is not None:
        raise InputError(f"{path}: the recipe failed ({stored.reason}); there is nothing to verify")
    if stored.trace is None:
        raise InputError(f"{path}: names no trace; it was made by an older version, run the recipe again")
    again = recomputed(stored, trace.read(trace.located(path, stored.trace)))
    found = list(_differences(_plain(stored), _plain(again), ""))
    figures = sum(_count(_plain(part)) for part in _made_again(again))
    return Verified(path, figures, tuple(found))


def _made_again(result: Result) -> tuple[Any, ...]:
    """The parts of a result that are computed from the samples; the rest is copied, and counts for nothing."""
    of_references = [part for each in result.references for part in (each.accuracy, each.points)]
    return (result.accuracy, result.points, result.transform, result.verdict, result.breakeven, *of_references)


def recomputed(stored: Result, session: Session) -> Result:
    """The result with accuracy, points, ratios, what compressing cost, verdicts and break-even made anew.

    Traces of versions that kept no readings of compressing leave its joules as they are stored; references of versions
    that compared them with no constant answer are judged as then.
    """
    raw = figures.from_trace(session)
    names = {runner.name for runner in session.runners}
    lost = [name for name in (stored.name, *(r.name for r in stored.references)) if name not in names]
    if lost:
        raise InputError(f"the trace of {stored.name} holds no samples of {', '.join(lost)}; it is another session's")
    references = tuple(
        replace(
            r,
            accuracy=_as_recorded(r.accuracy, figures.accuracy(raw, r.name)),
            points=figures.points(raw, r.name),
            verdict_reference=r.name == raw.against,
        )
        for r in stored.references
    )
    compressing = (session.compressing or {}).get(stored.name)
    accuracy = figures.accuracy(raw, stored.name)
    bare = replace(
        stored,
        seed=_seed(stored, raw),
        limit=_limit(stored, session, accuracy.estimate.n),
        transform=stored.transform if compressing is None else transform(compressing),
        accuracy=accuracy,
        points=figures.points(raw, stored.name),
        references=references,
        verdict=None,
        breakeven=None,
    )
    return judged(bare)


def _seed(stored: Result, raw: Raw) -> int:
    """The recipe's seed by the trace; those of older versions know it where a session was of one recipe."""
    if raw.session.asked is not None:
        return raw.session.asked.seeds.get(stored.name, stored.seed)
    return raw.seed if len(raw.session.compressing or ()) == 1 else stored.seed


def _limit(stored: Result, session: Session, counted: int) -> int | None:
    """How many examples a limit took by the trace; those of older versions do not know whether there was one."""
    if session.asked is not None:
        return figures.limit(session.asked.limit, counted)
    return figures.limit(None if stored.limit is None else counted, counted)


def _as_recorded(stored: Accuracy, again: Accuracy) -> Accuracy:
    """The accuracy made anew, without the comparison with a constant answer where the stored one has none."""
    if stored.over_chance is not None:
        return again
    reasons = {field: why for field, why in again.reasons.items() if field != "over_chance"}
    return replace(again, over_chance=None, reasons=reasons)


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def _differences(stored: Any, again: Any, where: str) -> Iterator[str]:
    if isinstance(stored, Mapping) and isinstance(again, Mapping):
        for key in dict.fromkeys([*stored, *again]):
            yield from _differences(stored.get(key), again.get(key), f"{where}.{key}" if where else str(key))
    elif _is_list(stored) and _is_list(again):
        if len(stored) != len(again):
            yield f"{where}: {len(stored)} stored, {len(again)} from the trace"
        for index, (one, two) in enumerate(zip(stored, again, strict=False)):
            yield from _differences(one, two, f"{where}[{index}]")
    elif not _same(stored, again, exact=".rounds[" in where):
        yield f"{where}: stored {stored!r}, from the trace {again!r}"


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _same(stored: Any, again: Any, exact: bool) -> bool:
    """`exact`: of one round, which only sums and differences of integers make."""
    if not exact and isinstance(stored, float) and isinstance(again, float):
        if math.isnan(stored) or math.isnan(again):
            return math.isnan(stored) and math.isnan(again)
        return math.isclose(stored, again, rel_tol=TOLERANCE, abs_tol=0.0)
    return bool(stored == again)


def _count(value: Any) -> int:
    if isinstance(value, Mapping):
        return sum(_count(item) for item in value.values())
    if _is_list(value):
        return sum(_count(item) for item in value)
    return 1
