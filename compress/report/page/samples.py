"""Data of cards from a session's raw samples, read by columns and only for rows with a card, without torch.

Missing data has a reason: traces may not have been copied with the results, or an older version recorded less.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from compress.analysis.accuracy import NO_MCNEMAR
from compress.base.config import InputError
from compress.records import trace
from compress.records.result import Result
from compress.records.sample import OUTSIDE, PAUSE_NS
from compress.report.page.answered import changed_answers
from compress.report.page.scored import moved_ranks, moved_scores, moved_texts, moved_transcripts
from compress.report.page.tagged import Unit, changed_tags
from compress.report.text import plain

Plain = dict[str, Any]
FLIPS, BLOCKS = 60, 20
"""Most answers, and most blocks of a language model, in a card."""
BINS = 36
MOST_SAMPLES = 700
GONE = "the raw samples of this result are missing (traces/)"
OF_PICTURES = ("objects_0", "intersection_0")
"""Outcomes of pictures whose answers are many boxes or pixels."""
OLD = "not recorded by this version"


class Trace:
    """The folders of a result's sessions. Each file is read once, on first use.

    Answers are those of the first session; batches, windows and samples those of all.
    """

    def __init__(self, folders: Sequence[Path]):
        self._folders = folders

    @cached_property
    def labels(self) -> tuple[str, ...] | None:
        """Names of the classes, if recorded."""
        return trace.about(self._folders[0]).labels

    @cached_property
    def _outcomes(self) -> Mapping[str, Mapping[str, Any]]:
        return self._by_runner("outcomes", self._folders[0])

    @cached_property
    def _batches(self) -> Mapping[str, Mapping[str, Any]]:
        return self._of_all("batches")

    @cached_property
    def windows(self) -> Mapping[str, Mapping[str, Any]]:
        """Runner -> columns of its windows."""
        return self._of_all("windows")

    def outcomes(self, runner: str) -> Mapping[str, Any]:
        """Return column -> values of every example."""
        return self._outcomes.get(runner, {})

    def durations_ms(self, runner: str) -> Any:
        """Return the durations of all batches at the headline point, which is a session's first point."""
        batches = self._batches.get(runner)
        return np.array([]) if batches is None else batches["duration_ns"][batches["point"] == 0] / 1e6

    @cached_property
    def texts(self) -> Mapping[int, str | None] | None:
        """Example -> its shortened text; None if the session recorded none."""
        columns = self._read("examples", self._folders[0])
        if columns is None:
            return None
        numbers, texts = columns.get("example", ()), columns.get("text", ())
        return {int(n): t for n, t in zip(numbers, texts, strict=False)}

    @cached_property
    def samples(self) -> Mapping[str, Any]:
        """Column -> values; empty if nothing was sampled."""
        return _concatenated([columns for folder in self._folders if (columns := self._read("samples", folder))])

    def _of_all(self, name: str) -> Mapping[str, Mapping[str, Any]]:
        """Return runner -> column -> values over all sessions."""
        tables = [self._by_runner(name, folder) for folder in self._folders]
        names = dict.fromkeys(runner for table in tables for runner in table)
        return {runner: _concatenated([table[runner] for table in tables if runner in table]) for runner in names}

    def _by_runner(self, name: str, folder: Path) -> Mapping[str, Mapping[str, Any]]:
        """Return runner -> column -> values. Rows of one runner are contiguous, as they were written."""
        columns = self._read(name, folder) or {}
        if not len(columns.get("runner", ())):
            return {}
        names, firsts = np.unique(columns["runner"], return_index=True)
        order = np.argsort(firsts)
        ends = [*firsts[order][1:], len(columns["runner"])]
        return {
            str(names[k]): {key: values[firsts[k] : end] for key, values in columns.items() if key != "runner"}
            for k, end in zip(order, ends, strict=True)
        }

    def _read(self, name: str, folder: Path) -> dict[str, Any] | None:
        if not (folder / f"{name}.parquet").exists():
            return None
        table = trace.table(folder, name)
        return {key: _values(table.column(key)) for key in table.column_names}


def _concatenated(tables: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the columns that all tables have, one table after the other."""
    if len(tables) == 1:
        return dict(tables[0])
    shared = [key for key in tables[0] if all(key in table for table in tables)] if tables else []
    return {key: np.concatenate([table[key] for table in tables]) for key in shared}


def _values(column: Any) -> Any:
    """Return numbers as an array, and texts, which can be None, as a list."""
    import pyarrow as pa

    texts = pa.types.is_string(column.type) or pa.types.is_null(column.type)
    return column.to_pylist() if texts else column.to_numpy()


class Traces:
    """The sessions below a folder of results, by name. Traces are opened on first use."""

    def __init__(self, folder: Path | None):
        files = [] if folder is None else sorted(folder.rglob("traces/*/session.json"))
        self._folders = {path.parent.name: path.parent for path in files}
        self._open: dict[str, Trace] = {}

    def session(self, name: str, further: Sequence[str] = ()) -> Trace | None:
        """Return the samples of a session and of the further ones, or None if they are missing."""
        if name not in self._open and name in self._folders:
            names = [name, *(PurePosixPath(each).name for each in further)]
            self._open[name] = Trace([self._folders[each] for each in names if each in self._folders])
        return self._open.get(name)


def recorded(session: Trace | None, part: Callable[[Trace], Plain]) -> Plain:
    """Return a part of the samples, or the reason why it is unavailable."""
    if session is None:
        return {"why": GONE}
    try:
        return part(session)
    except InputError as error:
        return {"why": plain(f"the raw samples cannot be read ({error})")}
    except (ValueError, KeyError, IndexError, TypeError) as error:  # inconsistent tables of a session
        return {"why": plain(f"the raw samples cannot be read ({type(error).__name__}: {error})")}


def flips(session: Trace, result: Result, against: str) -> Plain:
    """Return the examples on which recipe and reference answer differently: losses first, then gains, then others."""
    ours, baseline = session.outcomes(result.name), session.outcomes(against)
    if "match_1" in ours and "match_1" in baseline:
        metric = None if result.accuracy is None else result.accuracy.metric
        found = moved_texts(ours, baseline, metric, against, session.texts or {}, FLIPS)
        return {**found, "texts": OLD if session.texts is None else None}
    if "errors" in ours and "errors" in baseline:
        metric = None if result.accuracy is None else result.accuracy.metric
        found = moved_transcripts(ours, baseline, metric, against, session.texts or {}, FLIPS)
        return {**found, "texts": OLD if session.texts is None else None}
    if "nll" in ours and "nll" in baseline:
        return _blocks(ours, baseline)
    if "score" in ours and "score" in baseline:
        found = moved_scores(ours, baseline, against, session.texts or {}, FLIPS)
        return {**found, "texts": OLD if session.texts is None else None}
    if "ndcg_at_10" in ours and "ndcg_at_10" in baseline:
        metric = "ndcg_at_10" if result.accuracy is None else result.accuracy.metric
        figure = "reciprocal_rank" if metric == "mrr" else metric if metric in ours else "ndcg_at_10"
        found = moved_ranks(ours[figure], baseline[figure], against, session.texts or {}, FLIPS)
        return {**found, "texts": OLD if session.texts is None else None}
    if "em" in ours and "em" in baseline and "answer" in ours and "answer" in baseline:
        found = changed_answers(ours, baseline, against, session.texts or {}, FLIPS)
        return {**found, "texts": OLD if session.texts is None else None}
    if "answer" in ours and "answer" in baseline:
        of_words = result.accuracy is not None and result.accuracy.metric == "token_accuracy"
        unit: Unit = "words" if of_words else "labels" if "labels" in ours else "entities"
        found = changed_tags(ours, baseline, against, unit, session.texts or {}, FLIPS)
        return {**found, "texts": OLD if session.texts is None else None}
    if "prediction" not in ours or "prediction" not in baseline:
        counted = (why for name, why in NO_MCNEMAR.items() if name in OF_PICTURES and name in ours)
        return {"why": next(counted, "the session stored no individual answers")}
    labels, answers, reference_answers = ours["reference"], ours["prediction"], baseline["prediction"]
    changed = np.flatnonzero(answers != reference_answers)
    rank = np.where(
        reference_answers[changed] == labels[changed], 0, np.where(answers[changed] == labels[changed], 1, 2)
    )
    names, texts = session.labels, session.texts

    def label(value: float) -> str:
        place = int(value)
        return plain(names[place]) if names and 0 <= place < len(names) else str(place)

    rows = [
        [
            int(n),
            plain(texts[int(n)]) if texts and texts.get(int(n)) is not None else None,
            *(label(v[n]) for v in (labels, reference_answers, answers)),
            int(kind),
        ]
        for kind, n in sorted(zip(rank.tolist(), changed.tolist(), strict=True))[:FLIPS]
    ]
    counts = [int((rank == kind).sum()) for kind in range(3)]
    return {"counts": counts, "n": len(labels), "rows": rows, "texts": OLD if texts is None else None}


def _blocks(ours: Mapping[str, Any], baseline: Mapping[str, Any]) -> Plain:
    """Return the blocks of a language model with the largest changes of loss."""
    before, after = baseline["nll"] / baseline["tokens"], ours["nll"] / ours["tokens"]
    order = np.argsort(-np.abs(after - before))[:BLOCKS]
    rows = [[int(i), int(ours["tokens"][i]), f"{before[i]:.4f}", f"{after[i]:.4f}"] for i in order]
    return {"blocks": rows, "n": len(before)}


def histogram(session: Trace, names: Sequence[str]) -> Plain:
    """Return the shares of batches by duration, on bins shared by these runners."""
    durations = {name: session.durations_ms(name) for name in names}
    known = {name: values for name, values in durations.items() if len(values)}
    if not known:
        return {"why": "the session stored no durations of single batches"}
    merged = np.concatenate(list(known.values()))
    low, high = float(merged.min()), float(max(np.percentile(v, 99) for v in known.values()))
    edges = np.geomspace(low, max(high, 1.01 * low), BINS + 1)
    series = [
        {
            "name": name,
            "n": len(values),
            "share": [round(100 * float(c) / len(values), 2) for c in np.histogram(values, edges)[0]],
            "beyond": int((values > edges[-1]).sum()),
            "p50": _short(float(np.percentile(values, 50))),
        }
        for name, values in known.items()
    ]
    return {"edges": [_short(float(e)) for e in edges], "series": series}


def power(session: Trace) -> Plain:
    """Return power, clock and temperature of the session per board, in seconds from its first sample.

    Lines are interrupted between sessions.
    """
    columns = session.samples
    key = next((k for k in ("power_mw", OUTSIDE) if k in columns), None)
    if not len(columns.get("time_ns", ())) or key is None:
        return {"why": "nothing was sampled: no meter reported power"}
    start, boards = int(columns["time_ns"].min()), columns.get("board")
    boards_data = []
    for board in [None] if boards is None else np.unique(boards).tolist():
        chosen = np.arange(len(columns["time_ns"])) if board is None else np.flatnonzero(boards == board)
        # readings of the counter alone have no power
        has_power = [_watts(value) is not None for value in columns[key][chosen]]
        chosen = chosen[has_power]
        kept = chosen[:: max(1, -(-len(chosen) // MOST_SAMPLES))]
        times = columns["time_ns"][kept]
        breaks = [i + 1 for i in np.flatnonzero(np.diff(times) > PAUSE_NS).tolist()]
        boards_data.append(
            {
                "board": board,
                "t": _broken([round(float(v - start) / 1e9, 2) for v in times], breaks),
                "w": _broken([_watts(v) for v in columns[key][kept]], breaks),
                "mhz": _broken(_clean(columns.get("sm_mhz"), kept), breaks),
                "c": _broken(_clean(columns.get("temperature_c"), kept), breaks),
                "thinned": len(kept) < len(chosen),
            }
        )
    windows = {
        name: [
            [round((int(a) - start) / 1e9, 2), round((int(b) - start) / 1e9, 2)]
            for p, a, b in zip(intervals["point"], intervals["started_ns"], intervals["ended_ns"], strict=True)
            if p == 0
        ]
        for name, intervals in session.windows.items()
    }
    return {"boards": boards_data, "windows": windows}


def _broken(values: list[Any], breaks: Sequence[int]) -> list[Any]:
    """Return a line's values with None before each of these places, which interrupts it."""
    for place in reversed(breaks if values else ()):
        values.insert(place, None)
    return values


def _watts(milliwatts: Any) -> float | None:
    return None if milliwatts is None or math.isnan(milliwatts) else round(float(milliwatts) / 1e3, 1)


def _clean(values: Any, kept: Any) -> list[int | None]:
    if values is None:
        return []
    return [None if v is None or math.isnan(v) else int(v) for v in values[kept]]


def _short(value: float) -> float:
    return float(f"{value:.5g}")
