"""Results of one table that contradict each other, because they come from sessions that measured differently."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from compress.analysis import pareto
from compress.base.console import say
from compress.harness.plan import Planned
from compress.records.result import Result


def contradicting_groups(
    plans: Sequence[Planned], finished: Mapping[Path, Result], reused_paths: frozenset[Path]
) -> list[list[Planned]]:
    """Return groups of recipes to measure together, since their results come from contradicting sessions.

    Sessions of this run are not compared with each other: they are separate because their settings differ.
    """
    groups = []
    for table in pareto.group(finished.values()):
        members = [p for p in plans if finished[p.path] in table.results]
        if table.disagreements and any(p.path in reused_paths for p in members):
            for contradiction in table.disagreements:
                say(f"  {contradiction}: beyond their intervals")
            say(f"  so {', '.join(p.recipe.name for p in members)} are measured again, together")
            groups.append(members)
    return groups
