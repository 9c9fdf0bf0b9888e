"""Artifacts that an earlier layout of this package wrote still load, and answer as they did.

`older/` holds two: pruned heads, factors and 3-bit weights; NF4 weights. Both are of 32 hidden units and one layer.
"""

import json
from pathlib import Path

import pytest
import torch

from compress import load

FOLDER = Path(__file__).parent / "older"


@pytest.mark.parametrize("name", ["structures", "nf4"])
def test_an_older_artifact_answers_as_it_did(name: str) -> None:
    kept = json.loads((FOLDER / f"{name}.json").read_text())
    ids = torch.tensor(kept["input_ids"])  # [2, 6]
    model, tokenizer = load(FOLDER / name)
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    torch.testing.assert_close(logits, torch.tensor(kept["logits"]), rtol=1e-4, atol=1e-5)
    assert len(tokenizer) > 0
