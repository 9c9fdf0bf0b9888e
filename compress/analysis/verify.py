"""Verification of a result: recompute its measured figures from its raw samples, without the device.

A result is compared twice: with the functions that made it, which find what was changed in a file or a trace, and with
a second implementation (`recount`), which finds a fault in those functions. Integers must be identical, and statistics
equal within 1e-9 relative, because numpy's logarithm differs between processors. Of a result of schema 1, the figures
are compared by the rules of that schema, and its verdicts are not.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any

from compress.analysis import costs, figures, older_figures, recount
from compress.analysis.costs import Raw
from compress.analysis.full_speed import unfounded
from compress.analysis.generation import generation
from compress.analysis.judging import judged
from compress.analysis.price import transform
from compress.base.config import InputError
from compress.records import files as result_files
from compress.records import trace
from compress.records.machine import code_version
from compress.records.result import SCHEMA, Accuracy, Reference, Result
from compress.records.session import Session

TOLERANCE = 1e-9
NOISE = 1e-14
"""Largest absolute difference of two sums of the same terms, such as the spread of equal costs, which is 0."""
NUMBER = re.compile(r"[-+]?\d[\d,.]*(?:e[-+]?\d+)?")
SENTENCE = 4
"""Words of the shortest sentence: verdicts and grades are fewer."""
FIRST, SECOND = "from the trace", "by the second implementation"
COPIED = (
    "not recomputed, because raw samples do not contain them: sizes, kernels, layers, notes, settings, carbon, and the "
    "fields of recipe, workload, machine and artifact"
)
"""The parts of a result that `verify` does not check."""


@dataclass(frozen=True)
class Verified:
    """Differences between a result and the figures of its raw samples."""

    path: Path
    figures: int
    """Number of compared values: numbers, words and sentences."""
    differences: tuple[str, ...]
    confirmed: int = 0
    """Number of values that the second implementation confirmed."""
    remark: str | None = None
    """What was not compared: figures of a result of schema 1, the wording of another version."""


def verify(path: Path) -> Verified:
    """Compare a result file with its trace. Raises InputError if either cannot be read or there is no trace."""
    stored = result_files.read(path)
    if stored.error is not None:
        raise InputError(f"{path}: the recipe failed ({stored.reason}); there is nothing to verify")
    if not stored.traces:
        raise InputError(f"{path}: records no trace; it was made by an older version, run the recipe again")
    sessions = [trace.read(trace.located(path, stated)) for stated in stored.traces]
    old, new, compared, remark = _first(stored, recomputed(stored, *sessions))
    reworded: list[str] | None = None if stored.code_version == code_version() else []
    differences = dict(unlike(old, new, "", reworded=reworded)) | dict(_unfounded(sessions))
    confirmed = 0
    for old, new, place in _second(stored, sessions):
        found = dict(unlike(old, new, place, SECOND, NOISE, reworded))
        confirmed += max(0, _count(new) - len(found))
        differences = found | differences
    if reworded:
        wording = f"sentences with the same numbers are worded otherwise by this version, {code_version()}"
        remark = "; ".join(filter(None, (remark, wording)))
    return Verified(path, compared, tuple(differences.values()), confirmed, remark)


def _unfounded(sessions: Sequence[Session]) -> Iterator[tuple[str, str]]:
    """Yield a path and a sentence for each operating point that leaves rounds out against its readings."""
    for number, session in enumerate(sessions, start=1):
        for index in range(max((len(runner.points) for runner in session.runners), default=0)):
            measured = [runner.points[index] for runner in session.runners if len(runner.points) > index]
            if (sentence := unfounded(measured)) is not None:
                place = f"session {number} points[{index}]"
                yield place, f"{place}: {sentence}"


def _first(stored: Result, computed: Result) -> tuple[Any, Any, int, str | None]:
    """Return the figures of a result and of its trace, their number, and a remark for a result of schema 1."""
    if stored.schema < SCHEMA:
        old, new = older_figures.compared(stored, computed)
        return old, new, _count(old), older_figures.UNCOMPARED
    return _plain(stored), _plain(computed), sum(_count(_plain(part)) for part in _computed_parts(computed)), None


def _second(stored: Result, sessions: Sequence[Session]) -> Iterator[tuple[Any, Any, str]]:
    """Yield the points of a result and of each reference, those of the second implementation, and their path.

    Of a result of schema 1 only rounds are yielded: its statistics followed other rules.
    """
    rows: dict[str, Result | Reference] = {"points": stored}
    rows |= {f"references[{index}].points": reference for index, reference in enumerate(stored.references)}
    recounted = recount.points(sessions, [row.name for row in rows.values()])
    for (place, row), points in zip(rows.items(), recounted, strict=True):
        known = points if stored.schema == SCHEMA else [{"rounds": point["rounds"]} for point in points]
        yield restricted(_plain(row.points), known), known, place


def restricted(stored: Any, like: Any) -> Any:
    """Return the part of a nested value whose keys another one has."""
    if isinstance(stored, Mapping) and isinstance(like, Mapping):
        return {key: restricted(stored.get(key), value) for key, value in like.items()}
    if _is_list(stored) and _is_list(like):
        return [*map(restricted, stored, like), *stored[len(like) :]]
    return stored


def _computed_parts(result: Result) -> tuple[Any, ...]:
    """Return the parts of a result that are computed from the samples. The rest is copied and not counted."""
    of_references = [part for each in result.references for part in (each.accuracy, each.points, each.generation)]
    return (
        result.accuracy,
        result.points,
        result.generation,
        result.transform,
        result.verdict,
        result.breakeven,
        *of_references,
    )


def recomputed(stored: Result, session: Session, *further: Session) -> Result:
    """Return the result with accuracy, points, ratios, cost of compressing, verdicts and break-even recomputed.

    `session` and `further` are its traces, in order.
    If a trace of an older version has no readings of compressing, the stored joules are kept. If an older version did
    not compare its references with a constant answer, they are judged without that comparison. Raises InputError if
    the trace lacks samples of the result or a reference, or if two traces are of the same session.
    """
    _check_distinct(stored, (session, *further))
    raw = costs.from_trace(session, further)
    names = {runner.name for runner in session.runners}
    missing = [name for name in (stored.name, *(r.name for r in stored.references)) if name not in names]
    if missing:
        raise InputError(
            f"the trace of {stored.name} holds no samples of {', '.join(missing)}; it belongs to another session"
        )
    references = tuple(
        replace(
            r,
            accuracy=_as_recorded(r.accuracy, figures.accuracy(raw, r.name)),
            points=figures.points(raw, r.name),
            generation=generation(raw, r.name),
            verdict_reference=r.name == raw.against,
        )
        for r in stored.references
    )
    compressing = (session.compressing or {}).get(stored.name)
    accuracy = figures.accuracy(raw, stored.name)
    unjudged = replace(
        stored,
        seed=_seed(stored, raw),
        limit=_limit(stored, session, accuracy.estimate.n),
        transform=stored.transform if compressing is None else transform(compressing),
        accuracy=accuracy,
        points=figures.points(raw, stored.name),
        generation=generation(raw, stored.name),
        references=references,
        verdict=None,
        breakeven=None,
        session_spread=0.0 if stored.schema == 1 else stored.session_spread,  # break-even of schema 1 has no spread
    )
    return replace(judged(unjudged), session_spread=stored.session_spread)


def _check_distinct(stored: Result, sessions: Sequence[Session]) -> None:
    """Raise InputError if two traces of a result are of the same session: their rounds would count twice."""
    starts = [min(window.started_ns for window in session.windows) for session in sessions if session.windows]
    if len(set(stored.traces)) < len(stored.traces) or len(set(starts)) < len(starts):
        raise InputError(f"the traces of {stored.name} hold the same session twice; expected one trace of each session")


def _seed(stored: Result, raw: Raw) -> int:
    """Return the recipe's seed from the trace. Traces of older versions hold it only in sessions of one recipe."""
    if raw.session.request is not None:
        return raw.session.request.seeds.get(stored.name, stored.seed)
    return raw.seed if len(raw.session.compressing or ()) == 1 else stored.seed


def _limit(stored: Result, session: Session, counted: int) -> int | None:
    """Return the number of limited examples from the trace. Traces of older versions do not record a limit."""
    if session.request is not None:
        return figures.limit(session.request.limit, counted)
    return figures.limit(None if stored.limit is None else counted, counted)


def _as_recorded(stored: Accuracy, computed: Accuracy) -> Accuracy:
    """Return the recomputed accuracy, without the comparison with a constant answer if the stored one has none."""
    if stored.over_chance is not None:
        return computed
    reasons = {field: reason for field, reason in computed.reasons.items() if field != "over_chance"}
    return replace(computed, over_chance=None, reasons=reasons)


def _plain(value: Any) -> Any:
    """Return dataclasses, also those in a sequence, as dicts, and any other value unchanged."""
    if _is_list(value):
        return [_plain(item) for item in value]
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def unlike(
    stored: Any,
    computed: Any,
    path: str,
    origin: str = FIRST,
    noise: float = 0.0,
    reworded: list[str] | None = None,
) -> Iterator[tuple[str, str]]:
    """Yield the path of each value that differs, and a sentence.

    Paths of sentences that differ in words alone are added to `reworded` instead, if it is given.
    """
    if isinstance(stored, Mapping) and isinstance(computed, Mapping):
        for key in dict.fromkeys([*stored, *computed]):
            place = f"{path}.{key}" if path else str(key)
            yield from unlike(stored.get(key), computed.get(key), place, origin, noise, reworded)
    elif _is_list(stored) and _is_list(computed):
        if len(stored) != len(computed):
            yield path, f"{path}: {len(stored)} stored, {len(computed)} {origin}"
        for index, (old, new) in enumerate(zip(stored, computed, strict=False)):
            yield from unlike(old, new, f"{path}[{index}]", origin, noise, reworded)
    elif not _same(stored, computed, exact=".rounds[" in path, noise=noise):
        if reworded is not None and _differ_in_words(stored, computed):
            reworded.append(path)
        else:
            yield path, f"{path}: stored {stored!r}, {origin} {computed!r}"


def _differ_in_words(stored: Any, computed: Any) -> bool:
    """Return whether two values are sentences with the same numbers in the same order."""
    both = (stored, computed)
    if not all(isinstance(each, str) and len(each.split()) >= SENTENCE for each in both):
        return False
    return NUMBER.findall(stored) == NUMBER.findall(computed)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _same(stored: Any, computed: Any, exact: bool, noise: float) -> bool:
    """Return whether two values are equal. `exact`: values of a round are sums of integers and get no tolerance."""
    if not exact and isinstance(stored, float) and isinstance(computed, float):
        if math.isnan(stored) or math.isnan(computed):
            return math.isnan(stored) and math.isnan(computed)
        return math.isclose(stored, computed, rel_tol=TOLERANCE, abs_tol=noise)
    return bool(stored == computed)


def _count(value: Any) -> int:
    """Return the number of leaves of a nested value."""
    if isinstance(value, Mapping):
        return sum(_count(item) for item in value.values())
    if _is_list(value):
        return sum(_count(item) for item in value)
    return 1
