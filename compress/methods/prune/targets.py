"""The fraction of a structure's parameters whose removal takes a fraction of the whole model's cost.

Multiplications are counted, time is measured, both by a function that is handed in: a method never measures itself.
Found by bisection over copies pruned by magnitude: what stays decides the cost, not which.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace

from compress.base.config import InputError
from compress.model.bundle import Bundle
from compress.spec.steps import Prune

BISECTIONS = 7  # to less than a hundredth of the width
FINE = 1 << BISECTIONS


def in_parameters(
    bundle: Bundle, config: Prune, cut: Callable[[Bundle, Prune], Bundle], steps: Sequence[float] | None = None
) -> Prune:
    """The same configuration with its fraction in parameters of the structure, which is what `cut` takes.

    It is the least of the fractions `steps` (where None: of all up to 1) at which `config.fraction` of the cost is
    gone. Raises InputError where even the largest leaves more, or nothing here can tell the cost.
    """
    if config.cost == "parameters":
        return config
    if bundle.cost is None:
        raise InputError(f"prune cost {config.cost}: no workload says at which point; use cost parameters here")
    cost, dense = bundle.cost, bundle.cost(bundle.model, config.cost)
    fractions = [(index + 1) / FINE for index in range(FINE - 1)] + [1 - 1e-6] if steps is None else list(steps)

    def left(fraction: float) -> float:
        plain = {"fraction": fraction, "cost": "parameters", "importance": "magnitude", "allocation": "uniform"}
        trial = replace(bundle, model=copy.deepcopy(bundle.model))
        return cost(cut(trial, config.model_copy(update=plain)).model, config.cost) / dense

    narrowest = left(fractions[-1])
    if narrowest > 1 - config.fraction:
        raise InputError(
            f"prune {config.structure}: {config.fraction:.0%} of {config.cost} cannot go: the narrowest layers leave "
            f"{narrowest:.0%}; ask for less"
        )
    low, high = -1, len(fractions) - 1  # high is known to suffice
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if left(fractions[middle]) > 1 - config.fraction else (low, middle)
    return config.model_copy(update={"fraction": fractions[high], "cost": "parameters"})
