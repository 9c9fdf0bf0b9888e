"""The page's data: tables, their rows and the cards, as one JSON text of plain values.

    tables[]  title, sentence, use, notes, axes[], rows[] {name, front, word, cells {axis: [text, interval, ...]}}
    cards     "table:row" -> data of a card           power     session -> samples of its meter, shared by its cards

A cell that is a number is an index into `reasons`: why the figure is unknown.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compress.analysis.carbon import Terms
from compress.analysis.odds import Adjusted, adjusted, front_odds, verdict_among
from compress.analysis.pareto import Table
from compress.analysis.verdict import point_name
from compress.records.result import Reference, Result
from compress.report.advice import recommended
from compress.report.heading import LOUD, heading, title
from compress.report.notes import GROUPS, grouped
from compress.report.page.again import commands
from compress.report.page.axes import Axis, axes, cell
from compress.report.page.cards import card
from compress.report.page.figures import Row
from compress.report.page.headline import headline
from compress.report.page.samples import Traces, power, recorded
from compress.report.rerun import rerun_command
from compress.report.table import verdict_cell
from compress.report.text import first_line, joined, plain, share
from compress.report.use import how_to_use

MOST_CARDS = 60
AXIS = ("key", "short", "label", "title", "unit", "better", "session", "view")
FACTORS = (
    "Factors are the same ratios upside down: 2.2x faster is a latency of 0.45 times the reference's. The switch "
    "`ratios` shows those."
)
Plain = dict[str, Any]


def page_data(tables: Sequence[Table], folder: Path | None, terms: Terms | None = None) -> Plain:
    """Return all data of the page.

    `folder` is searched for results and traces; `terms` are the user's terms of carbon, if any. Tables with nothing but
    failed recipes are last.
    """
    tables = sorted(tables, key=lambda table: not table.results)
    reasons: dict[str, int] = {}
    table_data = [_table(table, folder, terms, reasons) for table in tables]
    traces, cards, sessions = Traces(folder), {}, dict[str, Plain]()
    for place, index in chosen(tables):
        result = tables[place].results[index]
        cards[f"{place}:{index}"] = card(result, tables[place], traces)
        session = traces.session(result.session, result.further_traces)
        if session is not None and result.session not in sessions:
            sessions[result.session] = recorded(session, power)
    left = sum(len(table.results) for table in tables) - len(cards)
    return {"tables": table_data, "cards": cards, "power": sessions, "reasons": list(reasons), "left": left}


def chosen(tables: Sequence[Table]) -> list[tuple[int, int]]:
    """Return table and row of the results with a card: rows of the fronts first, then the cheapest, in table order."""
    ranked = [
        (result.name not in table.front, index, place)
        for place, table in enumerate(tables)
        for index, result in enumerate(table.results)
    ]
    return sorted((place, index) for _, index, place in sorted(ranked)[:MOST_CARDS])


def _table(table: Table, folder: Path | None, terms: Terms | None, reasons: dict[str, int]) -> Plain:
    newest, family, odds, axes_ = table.newest, adjusted(table), front_odds(table), axes(table)
    sessions = list(dict.fromkeys(r.session for r in sorted(table.results, key=lambda r: r.moment, reverse=True)))
    rows = [_row(table, row, axes_, family, odds, terms, reasons) for row in table.rows]
    for plain_row, row in zip(rows, table.rows, strict=True):
        plain_row["session"] = sessions.index(row.session) if isinstance(row, Result) else 0
    return {
        "title": title(table),
        "workload": plain(newest.workload.get("name", "workload")),
        "device": plain(f"{newest.machine.device_name} ({newest.machine.id})"),
        "which": _which(table),
        **_top(table, folder),
        "axis": table.axis,
        "reference": table.reference,
        "sessions": len(sessions),
        "notes": _notes(table),
        "axes": [{key: _plain(getattr(axis, key)) for key in AXIS} for axis in axes_],
        "rows": rows,
        "failed": [[plain(r.name), first_line(r)] for r in table.failed],
    }  # fmt: skip


def _top(table: Table, folder: Path | None) -> Plain:
    """Return the recommendation with the way to use it, the finding, and the lines that must not be overlooked.

    A table without a sound reference or without a result has a finding only.
    """
    finding, about = headline(table)
    loud = [line for line in heading(table) if line.startswith(LOUD)]
    advice = None if table.unsound or not table.results else recommended(table)
    if advice is None:
        return {"sentence": finding, "finding": "", "about": plain(about), "use": None, "loud": loud}
    about = advice.result.name if advice.result else about
    use = None if advice.result is None else _use(advice.result, folder)
    return {"sentence": advice.sentence, "finding": finding, "about": plain(about), "use": use, "loud": loud}


def _use(result: Result, folder: Path | None) -> Plain:
    """Return where a model is, and the lines to copy that use it or, without it, that make it again."""
    use = how_to_use(result, folder)
    if use.code:
        following = [] if use.command is None else [use.command]
        return {"where": use.where, "code": list(use.code), "then": "Next", "commands": following}
    if command := rerun_command(result):
        return {"where": use.where, "code": [], "then": "To make it again", "commands": [command]}
    again = f"To make it again, save the recipe in its card as {plain(result.name)}.yaml, and run"
    return {"where": use.where, "code": [], "then": again, "commands": commands(result)[:1]}


def _notes(table: Table) -> list[tuple[str, list[str]]]:
    """Return group and lines of the notes, with the one on factors, which only this page has."""
    notes = grouped(table)
    if table.results:
        notes["method"] = [*notes.get("method", ()), FACTORS]
    return [(group, notes[group]) for group in GROUPS if group in notes]


def _which(table: Table) -> str:
    """Return what distinguishes this table from others of the same workload and device."""
    newest = table.newest
    data = newest.workload.get("dataset")
    parts = [
        f"split {data['test']}" if isinstance(data, dict) and data.get("test") else "",
        point_name(newest.headline) if newest.headline else "",
        f"against {table.reference}" if table.reference else "",
        "" if newest.limit is None else f"{newest.limit} examples",
        f"{len(table.results)} recipes",
    ]
    return plain(", ".join(part for part in parts if part))


def _row(
    table: Table,
    row: Result | Reference,
    axes_: Sequence[Axis],
    family: dict[str, Adjusted],
    odds: dict[str, float],
    terms: Terms | None,
    reasons: dict[str, int],
) -> Plain:
    point = row.headline
    view = Row(table, row, point, terms)
    cells = {axis.key: cell(axis, view) for axis in axes_}
    data: Plain = {
        "name": plain(row.name),
        "kind": "reference",
        "front": row.name in table.front,
        "held": row.name in table.held,
        "odds": None if row.name not in odds else share(odds[row.name]),
        "methods": [],
        "grade": point.grade if point else None,
        "kernel": row.kernel.label if row.kernel else None,
        "word": "the reference" if row.name == table.reference else None,
        "cells": {k: c if isinstance(c, list) else reasons.setdefault(c, len(reasons)) for k, c in cells.items()},
    }
    if isinstance(row, Result):
        verdict = verdict_among(row, family.get(row.name))
        data |= {
            "kind": "recipe",
            "methods": list(dict.fromkeys(str(s.get("method")) for s in row.recipe.get("steps", ()))) or ["no step"],
            "word": verdict.word if verdict else None,
            "verdict": joined(verdict_cell(row, family.get(row.name), table)),
            "says": plain(verdict.sentence) if verdict else None,
            "runtime": plain(row.runtime),
            "created": row.moment.date().isoformat(),
        }
    return data


def _plain(value: Any) -> Any:
    return plain(value) if isinstance(value, str) else value


def as_json(data: Plain) -> str:
    """Return JSON that is safe inside a script element: it is ASCII and cannot end the element."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
