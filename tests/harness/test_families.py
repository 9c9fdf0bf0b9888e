"""One tiny model of each family goes through every step that applies, as a whole and layer by layer."""

from pathlib import Path
from typing import Any

import pytest
import torch

from compress.base.config import InputError
from compress.harness import preflight, transform
from tests import families, streams

pytestmark = pytest.mark.long
CALIBRATED = {"calibration_examples": 6}
STEPS: dict[str, dict[str, Any]] = {
    "gptq": {"method": "quantize", "bits": 4, "group_size": 32, "rounding": "gptq", **CALIBRATED},
    "wanda": {"method": "prune", "structure": "unstructured", "importance": "wanda", **CALIBRATED},
    "svd": {"method": "lowrank", "parameters": 0.7, "weighting": "whitened", **CALIBRATED},
    "feed_forward": {"method": "prune", "structure": "feed_forward", "importance": "activation", **CALIBRATED},
    "heads": {"method": "prune", "structure": "heads", "fraction": 0.5},
    "layers": {"method": "prune", "structure": "layers", "importance": "influence", "fraction": 0.5, **CALIBRATED},
}
REFUSED = {
    ("phi3", "heads"): "query, key and value are one matrix with parts of different widths",
    ("gpt_neox", "heads"): "query, key and value are one matrix, interleaved head by head",
    ("mixtral", "feed_forward"): "its feed-forward parts are stacked experts",
    ("mixtral", "heads"): "its feed-forward parts are stacked experts",
    ("qwen3_moe", "feed_forward"): "its feed-forward parts are stacked experts",
    ("qwen3_moe", "heads"): "its feed-forward parts are stacked experts",
}
RENAMED = ("gpt_neox", "mixtral", "qwen3_moe")
"""Families whose plain checkpoints have other names than their modules; both kinds of names are read."""


@pytest.mark.parametrize("family", families.FAMILIES)
def test_every_step_applies_to_the_family_both_ways_or_is_refused_with_the_reason(family: str, tmp_path: Path) -> None:
    source = streams.source(tmp_path, families.FAMILIES[family]())
    ids = torch.arange(9)[None] + 4
    for name, step in STEPS.items():
        if (reason := REFUSED.get((family, name))) is not None:
            for memory in ("whole", "layers"):
                with pytest.raises(InputError, match=f"{name}: does not apply to model type '{family}': {reason}"):
                    preflight.check([streams.recipe([step], memory)], source)
            continue
        preflight.check([streams.recipe([step], "layers")], source)
        whole, layers = (streams.made(tmp_path / name, source, [step], memory) for memory in ("whole", "layers"))
        plain = streams.manifest(layers)["plain"]
        assert plain == streams.manifest(whole)["plain"]
        assert (plain and family in RENAMED) or streams.different(whole, layers) == [], name
        logits = [transform.load(place)[0](input_ids=ids).logits for place in (whole, layers)]
        assert torch.equal(*logits), name
