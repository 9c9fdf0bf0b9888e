"""Changes of a model layer by layer: on a model in memory, or on one that is on disk, block by block."""

from collections.abc import Callable, Collection
from typing import Any

from compress.base.console import track
from compress.methods.capture import Inputs, walk
from compress.model.bundle import Bundle
from compress.spec.steps import Sample

Change = Callable[[str, Inputs | None], Any]
"""(name of a layer, statistics of its inputs) -> a record of the change, as JSON holds it. It changes the layer."""


def change_layers(
    bundle: Bundle, step: str, sample: Sample | None, names: Collection[str], change: Change, label: str
) -> dict[str, Any]:
    """Call `change` for every layer, or parameter of stacked experts, in order; return its records by name.

    The inputs' statistics are None without a sample, and for a layer that never ran. Layers of later blocks see the
    changes made to earlier ones.
    """
    if bundle.stream is not None:
        records: dict[str, Any] = bundle.stream.change_layers(bundle, step, sample, names, change, label)
        return records
    layers = ((name, None) for name in names) if sample is None else walk(bundle, step, sample, names)
    return {name: change(name, inputs) for name, inputs in track(layers, label, len(names))}
