"""Convert a fraction of the whole model's cost to a fraction of a structure's parameters.

Multiplications are counted and time is measured by a function that the bundle provides: a method never measures. The
fraction is found by bisection over copies pruned by magnitude, since the cost depends on how many structures stay, not
on which ones.
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
    """Return the configuration with its fraction in parameters of the structure, the unit of `cut`.

    It is the least of the fractions `steps` (None: a fine grid up to 1) that removes `config.fraction` of the cost.
    Raises InputError if even the largest one leaves more, or if the bundle has no cost function.
    """
    if config.cost == "parameters":
        return config
    if bundle.cost is None:
        raise InputError(f"prune cost {config.cost}: needs the headline point of a workload; use cost parameters here")
    cost, dense = bundle.cost, bundle.cost(bundle.model, config.cost)
    fractions = [(index + 1) / FINE for index in range(FINE - 1)] + [1 - 1e-6] if steps is None else list(steps)

    def left(fraction: float) -> float:
        plain = {"fraction": fraction, "cost": "parameters", "importance": "magnitude", "allocation": "uniform"}
        trial = replace(bundle, model=copy.deepcopy(bundle.model))
        return cost(cut(trial, config.model_copy(update=plain)).model, config.cost) / dense

    narrowest = left(fractions[-1])
    if narrowest > 1 - config.fraction:
        raise InputError(
            f"prune {config.structure}: cannot remove {config.fraction:.0%} of {config.cost}: the narrowest layers "
            f"still have {narrowest:.0%}; use a smaller fraction"
        )
    low, high = -1, len(fractions) - 1  # high is known to suffice
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if left(fractions[middle]) > 1 - config.fraction else (low, middle)
    return config.model_copy(update={"fraction": fractions[high], "cost": "parameters"})
