"""Merge results of several machines into one folder, with raw samples, and compare recipes across machines.

Energies and latencies of different boards are never put on one axis. Machines are compared by ratios, each to the
reference of its own machine.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compress.analysis.pareto import Table, group, identity, point_cost
from compress.analysis.verdict import Axis
from compress.base.config import InputError
from compress.base.files import write_atomic
from compress.base.places import inside, own_file
from compress.base.reading import resolved
from compress.records import files as result_files
from compress.records import trace
from compress.records.result import Result
from compress.records.stats import Estimate


@dataclass(frozen=True)
class Merged:
    """The outcome of a merge."""

    results: tuple[Result, ...]
    superseded: tuple[str, ...]
    """Older results of the same recipe on the same machine, left out: `name on machine, created`."""
    untraced: tuple[str, ...]
    """Names of results whose raw samples are missing: their figures cannot be verified."""
    unread: tuple[str, ...] = ()
    """A sentence for each skipped file."""


def merge(folders: Sequence[Path], out: Path) -> Merged:
    """Copy the newest result of every recipe, workload and machine into `out`, with its raw samples.

    Results that are already in `out` take part. Unreadable files are skipped. Raises InputError, before writing
    anything, for fewer than two sources, a source without results, or an unreadable file in the place of a result.
    """
    sources = list(dict.fromkeys([*folders, *([out] if out.is_dir() else [])]))
    if len(sources) < 2:
        raise InputError(f"merge {' '.join(map(str, folders))}: expected at least two folders of results")
    problems: list[str] = []
    unread: list[str] = []
    newest: dict[Path, tuple[Result, Path]] = {}
    superseded = []
    for folder in sources:
        try:
            results, skipped = result_files.read_all(folder)
        except InputError as error:
            problems += error.problems
            continue
        if not results and folder in folders:
            problems += [*skipped, f"{folder}: no results in it; expected results of `compress run`"]
        unread += skipped
        for result in results:
            try:
                place = result_files.own_path(result)
                for source in _trace_folders(result, folder):
                    _trace_files(source)
                inside(out, str(place), f"{folder / place}: its place in {out}")
            except InputError as error:
                problems += error.problems
                continue
            before = newest.get(place)
            if before is not None and identity(before[0].workload) != identity(result.workload):
                files = f"{before[1] / place} and {folder / place}"
                problems.append(f"{files}: two workloads have the same name; rename one and run it again")
            elif before is None or result.moment > before[0].moment:
                superseded += [] if before is None or _same(before[0], result) else [before[0]]
                newest[place] = (result, folder)
            elif not _same(before[0], result):
                superseded.append(result)
    problems += [problem for place in newest for problem in _in_the_way(out / place, place)]
    if problems:
        raise InputError(problems)
    untraced = [result.name for result, folder in newest.values() if not _carry(result, folder, out)]
    omitted = (f"{r.name} on {r.machine.device_name}, {r.created}" for r in superseded)
    return Merged(
        tuple(result for result, _ in newest.values()), tuple(omitted), tuple(sorted(untraced)), tuple(unread)
    )


def _in_the_way(path: Path, place: Path) -> Sequence[str]:
    """Return why a result may not overwrite the file at `path`: it is unreadable, or holds another result."""
    if not os.path.lexists(path):
        return ()
    try:
        owner = result_files.own_path(result_files.read(path))
    except InputError as error:
        return [f"{problem}: not overwritten; move it, or choose another with --out" for problem in error.problems]
    return [] if owner == place else [f"{path}: holds the result of {owner}; not overwritten; give it its own name"]


def _same(one: Result, other: Result) -> bool:
    """Return whether both are copies of one result."""
    return (one.created, one.fingerprint, one.session) == (other.created, other.fingerprint, other.session)


def _trace_folders(result: Result, folder: Path) -> list[Path]:
    """Return the folders of a result's traces. `folder` may be a folder of results, or one workload in it."""
    place = result_files.own_path(result)
    is_workload = not (folder / place).exists() and (folder / place.name).exists()
    root = folder.absolute().parent if is_workload else folder
    return [inside(root, stated, f"{folder / place}: its trace") for stated in result.traces]


def _trace_files(source: Path) -> Sequence[Path]:
    """Return the existing files of a trace. Raises InputError if one is outside of the folder of results."""
    return [own_file(file) for name in trace.FILES if (file := source / name).is_file() or file.is_symlink()]


def _carry(result: Result, folder: Path, out: Path) -> bool:
    """Write a result and its raw samples into `out`. Return False if a part of them is missing."""
    sources = _trace_folders(result, folder)  # folders of files, shared by all results of a session
    targets = [inside(out, stated, f"{out}: the place of the trace of {result.name}") for stated in result.traces]
    try:
        for source, target in zip(sources, targets, strict=True):
            if resolved(source) != resolved(target):
                for file in _trace_files(source):
                    write_atomic(target / file.name, file.read_bytes())
        result_files.write(out, result)
        return all(map(trace.is_complete, targets)) if targets else result.error is not None
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); choose another with --out") from None


@dataclass(frozen=True)
class MachineRow:
    """One recipe or reference on every machine: its ratio to the machine's own reference, or None."""

    name: str
    costs: tuple[Estimate | None, ...]
    unreliable: tuple[bool, ...]
    """Whether the measurement was disturbed there (NOT RELIABLE)."""


@dataclass(frozen=True)
class MachineComparison:
    """Costs of one workload on several machines."""

    workload: str
    machines: tuple[str, ...]
    """`device name (id): axis / reference`, one for every column."""
    rows: tuple[MachineRow, ...]


def machine_comparisons(results: Sequence[Result]) -> list[MachineComparison]:
    """Return the workloads measured on more than one machine. Each machine has its own reference and axis."""
    families: dict[tuple[str, int | None], list[Table]] = {}
    for table in group(results):
        if table.results:
            newest = table.newest
            families.setdefault((identity(newest.workload), newest.limit), []).append(table)
    return [_machines(tables) for tables in families.values() if len({t.newest.machine.id for t in tables}) > 1]


def _machines(tables: Sequence[Table]) -> MachineComparison:
    names = dict.fromkeys(row.name for table in tables for row in table.results)
    names |= dict.fromkeys(r.name for table in tables for r in table.references)
    rows = []
    for name in names:
        costs = tuple(_cost(table, name, table.axis) for table in tables)
        if any(cost is not None for cost in costs):
            rows.append(MachineRow(name, costs, tuple(name in table.unreliable for table in tables)))
    machines = (f"{t.newest.machine.device_name} ({t.newest.machine.id}): {t.axis} / {t.reference}" for t in tables)
    limit = tables[0].newest.limit
    limited = "" if limit is None else f" (LIMITED to {limit} examples)"
    return MachineComparison(f"{tables[0].newest.workload.get('name')}{limited}", tuple(machines), tuple(rows))


def _cost(table: Table, name: str, axis: Axis) -> Estimate | None:
    row = next((r for r in table.rows if r.name == name), None)
    return point_cost(row.headline if row else None, axis, table.reference)
