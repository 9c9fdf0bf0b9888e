"""Entries of `steps:`: one frozen configuration per method. Does not import torch.

`compress.methods` has the function of each method, one file per method; `TRANSFORMS` there maps one to the other.
"""

from typing import Annotated, get_args

from pydantic import Field

from compress.base.config import Config
from compress.spec.steps.cast import Cast
from compress.spec.steps.distill import Distill
from compress.spec.steps.layers import HEADS, Layers, Patterns, Sample
from compress.spec.steps.lowrank import LowRank
from compress.spec.steps.prune import IMPORTANCES, Prune
from compress.spec.steps.quantize import Quantize

__all__ = [
    "HEADS",
    "IMPORTANCES",
    "STEPS",
    "Cast",
    "Distill",
    "Layers",
    "LowRank",
    "Patterns",
    "Prune",
    "Quantize",
    "Sample",
    "Step",
]

Step = Annotated[Cast | Prune | Quantize | LowRank | Distill, Field(discriminator="method")]
STEPS: tuple[type[Config], ...] = get_args(get_args(Step)[0])
