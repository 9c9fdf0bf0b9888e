"""Energy from a meter outside of the machine: attach its readings, a CSV of (time, watts), to a result.

    time,watts                      time is seconds since 1970, or ISO 8601 with its offset
    1767225600.0,312.5

Windows are found by the clock, so both clocks must be set (NTP). The meter measures everything that is plugged into it,
usually the whole computer. Net and gross energy are then far apart. New readings replace those attached before.
"""

import csv
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path, PurePosixPath

from compress.analysis.joules import READINGS, longest_gap
from compress.analysis.verify import recomputed
from compress.base import reading
from compress.base.errors import InputError, gathered
from compress.base.numerals import number
from compress.base.places import one_name
from compress.base.reading import shortened
from compress.records import files as result_files
from compress.records import trace
from compress.records.result import SCHEMA, Result
from compress.records.sample import OUTSIDE, Sample
from compress.records.session import Idle, MeterFacts, Session

MOST_BYTES = 1_000_000_000
MOST_S = 9e9
"""Latest time: 64-bit nanoseconds since 1970 end in the year 2262."""
MOST_W = 1e9
LONGEST = 200
"""Characters of a boundary or calibration."""
COLUMNS = "expected a CSV with columns time and watts, and a line for each reading"
ATTACHED = re.compile(r"(-external(-[0-9]+)?)+$")
"""End of the name of a session that readings were attached to."""
CLOCK_MOVED_NS = 50_000_000  # 1 % of a window of 5 s
ONLY = "the session"
JOINED = "join the readings of all sessions in one file, or "


def attach(path: Path, readings: Path, boundary: str, calibration: str | None, error: float | None = None) -> Result:
    """Return the result with energy from the readings, after writing it back together with its traces.

    `boundary` names what the meter measures. `calibration` states who calibrated the meter and when; grade A needs it,
    and blanks state nothing. `error` is the meter's relative error, if known. The readings cover every session of the
    result. Raises InputError, with a sentence per session, if they cannot be used or do not cover it.
    """
    boundary = _stated(boundary, "--boundary")
    calibration = _stated(calibration, "--calibration") if calibration is not None and calibration.strip() else None
    stored = result_files.read(path)
    if not stored.traces:
        raise InputError(f"{path}: records no trace; run the recipe again")
    meter = MeterFacts(source="external", boundary=boundary, measured=True, calibration=calibration, gain=error)
    outside = read(readings)
    places = [trace.located(path, stated) for stated in stored.traces]
    which = [f"session {n} of {len(places)}" for n in range(1, len(places) + 1)] if len(places) > 1 else [ONLY]
    sessions = gathered(
        partial(_metered, path, trace.read(place), meter, outside, readings, session)
        for place, session in zip(places, which, strict=True)
    )
    session, places = _free(path, stored.session, places, sessions)
    for place, metered in zip(places, sessions, strict=True):
        if not place.exists():
            trace.write(place, metered)
    located = [str(PurePosixPath(old).with_name(new.name)) for old, new in zip(stored.traces, places, strict=True)]
    renamed = replace(stored, schema=SCHEMA, session=session, trace=located[0], further_traces=tuple(located[1:]))
    attached = recomputed(renamed, *map(trace.read, places))
    result_files.replace_file(path, attached)
    return attached


def _free(path: Path, name: str, places: Sequence[Path], sessions: Sequence[Session]) -> tuple[str, list[Path]]:
    """Return the session's name with readings, and places for its traces: free, or with the same content.

    Two recipes of a session that have the same readings share its traces. Other readings get -external-2, -external-3
    and so on, so that the traces of other results stay.
    """
    session = bare = one_name(f"{ATTACHED.sub('', name)}-external", f"{path}: session")
    number = 1
    while True:
        taken = [place.with_name(name) for place, name in zip(places, trace.names(session, len(places)), strict=True)]
        if not any(map(os.path.lexists, taken)) or all(map(_holds, taken, sessions)):
            return session, taken
        number += 1
        session = f"{bare}-{number}"


def _holds(place: Path, session: Session) -> bool:
    """Return whether a trace has exactly this content."""
    try:
        return trace.read(place) == session
    except InputError:
        return False


def _metered(
    path: Path, measured: Session, meter: MeterFacts, outside: Sequence[Sample], readings: Path, which: str
) -> Session:
    """Return a session with the readings of the external meter. Raises InputError if they do not cover it.

    `path` is the file of its result, `readings` that of the readings, `which` names the session in errors. The board's
    own samples are kept: clocks and throttling still affect the grade. Readings of an external meter that the session
    had before are dropped. A session without windows is unchanged.
    """
    windows = measured.windows
    if not windows:
        return measured
    offset_ns = measured.clock_offset_ns
    if offset_ns is None:
        raise InputError(f"{path}: the trace of {which} has no wall-clock time; run the recipe again")
    start_ns = measured.clock_offset_start_ns
    moved_ns = 0 if start_ns is None else abs(offset_ns - start_ns)
    if moved_ns > CLOCK_MOVED_NS:
        raise InputError(
            f"{path}: this machine's clock moved by {moved_ns / 1e6:.0f} ms during {which}; expected at most "
            f"{CLOCK_MOVED_NS / 1e6:.0f} ms: keep it set (NTP), and measure again"
        )
    board = 0 if any(sample.board is not None for sample in measured.samples) else None  # as a trace returns it
    samples = [replace(sample, time_ns=sample.time_ns - offset_ns, board=board) for sample in outside]
    first, last = min(w.started_ns for w in windows), max(w.ended_ns for w in windows)
    if samples[0].time_ns > first or samples[-1].time_ns < last:
        raise InputError(
            f"{readings}: covers {_seconds(samples, first)} from the start of the first window of {which}; "
            f"expected 0 to {(last - first) / 1e9:.0f} s; {'' if which == ONLY else JOINED}check the meter's clock"
        )
    shortest = min(window.duration_ns for window in windows)
    gap = longest_gap(samples, first, last, OUTSIDE)
    if gap > shortest / READINGS:
        raise InputError(
            f"{readings}: gaps between readings of {which} reach {gap / 1e9:.3g} s, and windows last "
            f"{shortest / 1e9:.3g} s; expected {READINGS} readings a window: read more often, or measure with "
            f"--set measure.window_s={math.ceil(READINGS * gap / 1e9)}"
        )
    own = [sample for sample in measured.samples if sample.outside_mw is None]  # without readings attached before
    merged = sorted((*own, *samples), key=lambda sample: sample.time_ns)
    before = measured.meter
    beside = before.beside if before.source == "external" else before.source
    return replace(measured, meter=replace(meter, beside=beside), samples=tuple(merged), idle=Idle())


def _seconds(samples: Sequence[Sample], first: int) -> str:
    """Return first and last reading in seconds after `first`, as text."""
    return f"{(samples[0].time_ns - first) / 1e9:+.0f} to {(samples[-1].time_ns - first) / 1e9:+.0f} s"


def read(path: Path) -> list[Sample]:
    """Return the readings of a CSV sorted by time, in nanoseconds since 1970 and milliwatts.

    Raises InputError with the number of the line that cannot be read.
    """
    samples = []
    try:
        text = reading.content(path, "readings", MOST_BYTES).decode("utf-8-sig")  # spreadsheets write its mark
        rows = csv.DictReader(text.splitlines())
        for row in rows:
            samples.append(_sample(row, f"{path}:{rows.line_num}"))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8 ({error})") from None
    if not samples:
        raise InputError(f"{path}: {COLUMNS}")
    return sorted(samples, key=lambda sample: sample.time_ns)


def _sample(row: Mapping[str, str | None], place: str) -> Sample:
    """Return the reading of a row. Raises InputError, which starts with `place`, for anything else."""
    if not {"time", "watts"} <= set(row):
        raise InputError(f"{place.rpartition(':')[0]}: {COLUMNS}")
    time, watts = (row[column] or "" for column in ("time", "watts"))
    seconds, power_w = _seconds_since_1970(time), number(watts)
    if seconds is None or not 0 <= seconds <= MOST_S or power_w is None or not 0 <= power_w <= MOST_W:
        raise InputError(
            f"{place}: time {shortened(time)!r}, watts {shortened(watts)!r}; expected seconds since 1970, or ISO 8601 "
            f"with an offset, and watts from 0 up to {MOST_W:g}"
        )
    return Sample(round(seconds * 1e9), outside_mw=round(1000 * power_w))


def _seconds_since_1970(text: str) -> float | None:
    """Return the seconds since 1970 of a number of seconds or an ISO 8601 time with its offset; None otherwise."""
    seconds = number(text)
    if seconds is not None:
        return seconds
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if moment.tzinfo is None else moment.timestamp()


def _stated(text: str, option: str) -> str:
    """Return a text without spaces at its ends. Raises InputError for one that is empty, long or unprintable."""
    stated = text.strip()
    if not stated or len(stated) > LONGEST or not stated.isprintable():
        raise InputError(
            f"{option} {shortened(text)!r}: expected 1 to {LONGEST} printable characters, such as 'the whole server'"
        )
    return stated
