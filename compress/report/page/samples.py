"""What cards show of a session's raw samples: read only for rows that have a card, by columns, without torch.

Whatever is not there is said in a word: traces may have been left behind, or be of a version that recorded less.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from compress.base.config import InputError
from compress.records import trace
from compress.records.result import Result
from compress.records.sample import OUTSIDE
from compress.report.text import plain

Plain = dict[str, Any]
FLIPS, BLOCKS = 60, 20
"""Most answers, and blocks of a language model, that a card lists."""
BINS = 36
MOST_SAMPLES = 700
GONE = "the raw samples do not lie beside this result (traces/)"
OLD = "not recorded by this version"


class Trace:
    """One session's folder; each of its files is read once, when first asked for."""

    def __init__(self, folder: Path):
        self._folder = folder

    @cached_property
    def labels(self) -> tuple[str, ...] | None:
        """Names of the classes, where they were kept."""
        return trace.about(self._folder).labels

    @cached_property
    def _outcomes(self) -> Mapping[str, Mapping[str, Any]]:
        return self._by_runner("outcomes")

    @cached_property
    def _batches(self) -> Mapping[str, Mapping[str, Any]]:
        return self._by_runner("batches")

    @cached_property
    def windows(self) -> Mapping[str, Mapping[str, Any]]:
        """Runner -> columns of its windows."""
        return self._by_runner("windows")

    def outcomes(self, runner: str) -> Mapping[str, Any]:
        """Column -> values of every example."""
        return self._outcomes.get(runner, {})

    def durations_ms(self, runner: str) -> Any:
        """Of every batch at the headline point, which is a session's first."""
        found = self._batches.get(runner)
        return np.array([]) if found is None else found["duration_ns"][found["point"] == 0] / 1e6

    @cached_property
    def texts(self) -> Mapping[int, str | None] | None:
        """Example -> its text, cut short; None where the session did not keep any."""
        columns = self._read("examples")
        if columns is None:
            return None
        numbers, texts = columns.get("example", ()), columns.get("text", ())
        return {int(n): t for n, t in zip(numbers, texts, strict=False)}

    @cached_property
    def samples(self) -> Mapping[str, Any]:
        """Column -> values; empty where nothing was sampled."""
        return self._read("samples") or {}

    def _by_runner(self, name: str) -> Mapping[str, Mapping[str, Any]]:
        """Runner -> column -> values: rows of one runner stand together, as they were written."""
        columns = self._read(name) or {}
        if not len(columns.get("runner", ())):
            return {}
        names, firsts = np.unique(columns["runner"], return_index=True)
        order = np.argsort(firsts)
        ends = [*firsts[order][1:], len(columns["runner"])]
        return {
            str(names[k]): {key: values[firsts[k] : end] for key, values in columns.items() if key != "runner"}
            for k, end in zip(order, ends, strict=True)
        }

    def _read(self, name: str) -> dict[str, Any] | None:
        if not (self._folder / f"{name}.parquet").exists():
            return None
        table = trace.table(self._folder, name)
        return {key: _values(table.column(key)) for key in table.column_names}


def _values(column: Any) -> Any:
    """Numbers as an array; texts, of which some or all may be None, as a list."""
    import pyarrow as pa

    texts = pa.types.is_string(column.type) or pa.types.is_null(column.type)
    return column.to_pylist() if texts else column.to_numpy()


class Traces:
    """The sessions below a folder of results, by name."""

    def __init__(self, folder: Path | None):
        found = [] if folder is None else sorted(folder.rglob("traces/*/session.json"))
        self._found = {path.parent.name: path.parent for path in found}
        self._open: dict[str, Trace] = {}

    def session(self, name: str) -> Trace | None:
        """The samples of this session, or None where they are not there."""
        if name not in self._open and name in self._found:
            self._open[name] = Trace(self._found[name])
        return self._open.get(name)


def recorded(session: Trace | None, part: Callable[[Trace], Plain]) -> Plain:
    """What a part of the samples shows, or why nothing of it can be shown."""
    if session is None:
        return {"why": GONE}
    try:
        return part(session)
    except InputError as error:
        return {"why": plain(f"the raw samples cannot be read ({error})")}
    except (ValueError, KeyError, IndexError, TypeError) as error:  # tables of a session that do not fit one another
        return {"why": plain(f"the raw samples cannot be read ({type(error).__name__}: {error})")}


def flips(session: Trace, result: Result, against: str) -> Plain:
    """Examples that the recipe and the reference answered differently: first those it lost, then those it gained."""
    ours, theirs = session.outcomes(result.name), session.outcomes(against)
    if "nll" in ours and "nll" in theirs:
        return _blocks(ours, theirs)
    if "prediction" not in ours or "prediction" not in theirs:
        return {"why": "the session kept no single answers"}
    gold, mine, other = ours["reference"], ours["prediction"], theirs["prediction"]
    changed = np.flatnonzero(mine != other)
    rank = np.where(other[changed] == gold[changed], 0, np.where(mine[changed] == gold[changed], 1, 2))
    names, texts = session.labels, session.texts

    def label(value: float) -> str:
        place = int(value)
        return plain(names[place]) if names and 0 <= place < len(names) else str(place)

    rows = [
        [
            int(n),
            plain(texts[int(n)]) if texts and texts.get(int(n)) is not None else None,
            *(label(v[n]) for v in (gold, other, mine)),
            int(kind),
        ]
        for kind, n in sorted(zip(rank.tolist(), changed.tolist(), strict=True))[:FLIPS]
    ]
    counts = [int((rank == kind).sum()) for kind in range(3)]
    return {"counts": counts, "n": len(gold), "rows": rows, "texts": OLD if texts is None else None}


def _blocks(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Plain:
    """A language model's blocks that became worse or better by the most."""
    before, after = theirs["nll"] / theirs["tokens"], ours["nll"] / ours["tokens"]
    order = np.argsort(-np.abs(after - before))[:BLOCKS]
    rows = [[int(i), int(ours["tokens"][i]), f"{before[i]:.4f}", f"{after[i]:.4f}"] for i in order]
    return {"blocks": rows, "n": len(before)}


def histogram(session: Trace, names: Sequence[str]) -> Plain:
    """Shares of batches by duration, on bins that all of these runners have in common."""
    found = {name: session.durations_ms(name) for name in names}
    known = {name: values for name, values in found.items() if len(values)}
    if not known:
        return {"why": "the session kept no durations of single batches"}
    every = np.concatenate(list(known.values()))
    low, high = float(every.min()), float(max(np.percentile(v, 99) for v in known.values()))
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
    """Power, clock and temperature of the session, in seconds from its first sample; boards one below another."""
    columns = session.samples
    key = next((k for k in ("power_mw", OUTSIDE) if k in columns), None)
    if not len(columns.get("time_ns", ())) or key is None:
        return {"why": "nothing was sampled: there was no meter that tells power"}
    start, boards = int(columns["time_ns"].min()), columns.get("board")
    made = []
    for board in [None] if boards is None else np.unique(boards).tolist():
        chosen = np.arange(len(columns["time_ns"])) if board is None else np.flatnonzero(boards == board)
        told = [_watts(value) is not None for value in columns[key][chosen]]  # looks at the counter alone tell none
        chosen = chosen[told]
        kept = chosen[:: max(1, -(-len(chosen) // MOST_SAMPLES))]
        made.append(
            {
                "board": board,
                "t": [round(float(v - start) / 1e9, 2) for v in columns["time_ns"][kept]],
                "w": [_watts(v) for v in columns[key][kept]],
                "mhz": _clean(columns.get("sm_mhz"), kept),
                "c": _clean(columns.get("temperature_c"), kept),
                "thinned": len(kept) < len(chosen),
            }
        )
    windows = {
        name: [
            [round((int(a) - start) / 1e9, 2), round((int(b) - start) / 1e9, 2)]
            for p, a, b in zip(found["point"], found["started_ns"], found["ended_ns"], strict=True)
            if p == 0
        ]
        for name, found in session.windows.items()
    }
    return {"boards": made, "windows": windows}


def _watts(milliwatts: Any) -> float | None:
    return None if milliwatts is None or math.isnan(milliwatts) else round(float(milliwatts) / 1e3, 1)


def _clean(values: Any, kept: Any) -> list[int | None]:
    if values is None:
        return []
    return [None if v is None or math.isnan(v) else int(v) for v in values[kept]]


def _short(value: float) -> float:
    return float(f"{value:.5g}")
