"""The protocol of a table's measurement as sentences: workload, every setting, seeds, device, meter and versions.

Values come from the results. What an older result did not record is stated as such, never taken from today's defaults.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from compress.analysis.full_speed import LEFT_OUT
from compress.analysis.joules import UNCERTAINTY_FACTOR
from compress.analysis.loss import margin_of, margin_words
from compress.analysis.pareto import Table
from compress.analysis.verdict import MEASURED
from compress.records.result import Result
from compress.report import text
from compress.report.heading import LOUD, heading
from compress.spec.measure import FEWEST_ROUNDS, Settings

IDENTITY = frozenset({"uuid", "pci", "processes"})
"""Details of a machine that identify it and change no figure."""


def protocol(table: Table) -> list[str]:
    """Return the sentences of the protocol; a sentence that holds for some rows only ends with their names."""
    return [
        *(f"{line}." for line in heading(table) if not line.startswith(LOUD)),
        *_contents(table.newest),
        "One process measures all models of a session. In every round each model has one window, in random order, "
        "after a pre-roll of its own. The first round is not used. A window during which other processes, the host or "
        "a reduced clock disturbed the device beyond stated limits is repeated, and the quietest attempt is used.",
        *_left_out(table.results),
        *_grouped(table.results, _settings),
        *_grouped(table.results, _assumed),
        *_grouped(table.results, lambda result: f"Recipes use {text.seeds(result)}"),
        _device(table.newest),
        *_meter(table),
        f"Software: compress {', '.join(dict.fromkeys(r.code_version for r in (*table.results, *table.failed)))}; "
        f"{', '.join(f'{name} {version}' for name, version in table.newest.machine.versions.items())}.",
    ]


def _grouped(results: Iterable[Result], words: Callable[[Result], str]) -> Iterator[str]:
    """Yield the words of the results, each once; with the names of its rows, unless it holds for all of them."""
    groups: dict[str, list[str]] = {}
    for result in results:
        groups.setdefault(words(result), []).append(result.name)
    for sentence, names in groups.items():
        yield f"{sentence}." if len(groups) == 1 else f"{sentence} ({', '.join(names)})."


def _left_out(results: Iterable[Result]) -> Iterator[str]:
    """Yield how many rounds of a session are left out, and why."""
    points = [result.headline for result in results if result.headline is not None]
    reasons = (reason for point in points for reason in point.grade_reasons if LEFT_OUT in reason)
    for reason in dict.fromkeys(reasons):
        yield f"In one session, {reason}."


def _contents(result: Result) -> Iterator[str]:
    """Yield the hub's commits, or the digests, of model and data."""
    resolved = result.workload.get("resolved") or {}
    for part, name in (("model", "model"), ("dataset", "data")):
        if commit := resolved.get(f"{part}_revision"):
            yield f"The {name} is commit {commit} of the hub."
        elif digest := resolved.get(f"{part}_content"):
            yield f"The content of the {name} has the digest {digest}."


def _settings(result: Result) -> str:
    """Return the settings of a result's sessions: all by value, or those that an older result's recipe states."""
    if result.settings is not None:
        return f"Settings: {_by_value(result.settings)}"
    measure = result.recipe.get("measure")
    stated = measure.items() if isinstance(measure, Mapping) else ()
    words = ", ".join(f"{name} {value}" for name, value in stated if value is not None)
    return f"Settings that the recipe states: {words or 'none'}; version {result.code_version} recorded no others"


def _by_value(settings: Settings) -> str:
    """Return all settings as text."""
    rounds = f"{settings.rounds} rounds"
    if settings.precision is not None:
        half_width = f"{100 * settings.precision:g} %"
        rounds = f"at least {rounds}, until every latency ratio's 95 % interval has a half-width of {half_width}"
    if settings.budget_s is not None:
        rounds += f" or {settings.budget_s:g} s of the session's rounds are over, after {FEWEST_ROUNDS} rounds at least"
    batches = f"{settings.least_batches} batch{'es' if settings.least_batches > 1 else ''}"
    least = f"{batches} (with an energy counter, {settings.least_movements} movements)"
    halved = "; where memory ran out, half the batch for all models" if settings.halve_batch else ""
    return (
        f"profile {settings.profile}; {rounds}; windows of {settings.window_s:g} s, and of at least "
        f"{least if settings.least_movements else batches}; pre-rolls of {settings.preroll_s:g} s; warm-up until "
        f"steady, for at most {settings.warmup_s:g} s; operating points: {settings.points}; models in memory: "
        f"{settings.residency.replace('_', ' ')}; {settings.sessions} session{'s' if settings.sessions > 1 else ''}"
        f"{halved}"
    )


def _assumed(result: Result) -> str:
    """Return the two assumptions of a result's judgement: the margin of equality and the spread between sessions."""
    accuracy = result.accuracy
    margin = None if accuracy is None else margin_of(accuracy, result.margin)
    equal = "" if margin is None or accuracy is None else f"Differences within {margin_words(margin, accuracy)} "
    spread = f"{100 * result.session_spread:g} %"
    return (
        f"{equal}{'count as equal; costs' if equal else 'Costs'} of a single session are compared with other sessions "
        f"under an assumed standard deviation of {spread}"
    )


def _device(result: Result) -> str:
    """Return the device with all recorded details of the machine."""
    machine = result.machine
    facts = ", ".join(_facts(machine.details))
    return f"Device: {machine.device_name} ({machine.device}){f'; {facts}' if facts else ''}."


def _facts(node: Any, name: str = "") -> Iterator[str]:
    """Yield `name value` of every known value of nested details; plain lists are one value."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key not in IDENTITY:
                yield from _facts(value, str(key))
    elif isinstance(node, list) and any(isinstance(item, Mapping | list) for item in node):
        for item in node:
            yield from _facts(item, name)
    elif isinstance(node, list):
        yield f"{name} {' '.join(map(str, node))}"
    elif node is not None:
        yield f"{name} {node}"


def _meter(table: Table) -> Iterator[str]:
    """Yield the meter with its boundary and gain error; or why energy is modelled or unknown."""
    points = [row.headline for row in table.rows if row.headline is not None]
    if table.meter in MEASURED:
        boundary = next((p.energy_boundary for p in points if p.energy_boundary), "an unknown boundary")
        gain = next((p.energy_gain for p in points if p.energy_gain), None)
        error = "" if gain is None else f", with a gain error of up to {100 * gain:g} %, which cancels in ratios"
        yield f"Meter: {table.meter}, of {boundary}{error}; energy of grade {table.least} or better is ranked."
    elif table.meter == "modelled":
        yield (
            "Without a meter, energy is modelled from CPU time: uncertain by a factor of "
            f"{UNCERTAINTY_FACTOR:g} either way, and never ranked."
        )
    elif points:
        yield f"Energy is unknown: {points[0].energy_reason or 'no reason was recorded'}."
