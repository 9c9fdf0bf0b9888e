"""Direct comparison of two recipes, paired round by round in one session instead of through a reference."""

from collections.abc import Sequence
from dataclasses import replace

from compress.analysis.comparison import Comparison, compared
from compress.base.config import InputError
from compress.base.console import say
from compress.base.ranks import processes
from compress.harness.plan import Options
from compress.harness.run import run_all
from compress.spec.recipe import Recipe


class RecipeFailed(RuntimeError):
    """One of the two recipes failed, so there is nothing to compare."""


def compare(recipes: Sequence[Recipe], options: Options) -> Comparison:
    """Compare two recipes of one session: a new one, or the existing one that both results come from.

    If the results come from two sessions, both are measured again together, from the artifacts on disk.
    Raises InputError unless there are two recipes of different names, and RecipeFailed if one fails.
    """
    if len(recipes) != 2 or recipes[0].name == recipes[1].name:
        raise InputError(f"compare {' '.join(r.name for r in recipes)}: expected two recipes of different names")
    if processes() > 1:
        raise InputError(f"compare: expected one process, got {processes()}; train with run first")
    one, two = run_all(recipes, options)
    if one.error is None and two.error is None and one.session != two.session:
        say(
            f"{one.name} and {two.name} come from two sessions, whose speeds may differ: "
            "both are measured again together"
        )
        one, two = run_all(recipes, replace(options, fresh=True, rebuild=False))
    for result in (one, two):
        if result.error is not None:
            raise RecipeFailed(f"{result.name} failed: {result.error}")
    return compared(one, two, options.out)
