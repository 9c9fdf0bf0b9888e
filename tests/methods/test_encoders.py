"""Encoders: a tiny model of each family goes through every step and comes back equal, or is refused with the reason."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from compress.base.config import InputError
from compress.methods import apply_step
from compress.methods.prune import prune
from compress.methods.prune.heads import read_attention
from compress.model import artifact
from compress.model.architectures import layers_of
from compress.model.layers import matrix
from compress.spec.steps import Distill, LowRank, Prune, Quantize, Step
from tests.encoders import ENCODERS, deberta_v2, encoder
from tests.families import SIZES as FIELDS
from tests.made_models import bundle, inputs, rows_gone

STEPS: dict[str, Step] = {
    "feed_forward": Prune(fraction=0.25),
    "taylor": Prune(fraction=0.25, importance="taylor", calibration_examples=8),
    "heads": Prune(structure="heads", fraction=0.5),
    "hidden": Prune(structure="hidden", fraction=0.3),
    "layers": Prune(structure="layers", importance="influence", fraction=0.5, calibration_examples=8),
    "unstructured": Prune(structure="unstructured", fraction=0.5),
    "lowrank": LowRank(parameters=0.7),
    "int8": Quantize(bits=8, backend="torch", symmetric=True, group_size=32),
    "gptq": Quantize(bits=4, group_size=32, rounding="gptq", calibration_examples=8),
    "relations": Distill(relation_weight=1.0, relation_heads=4, soft_weight=0.0, max_steps=2, batch_size=4),
}
REFUSED = {
    ("albert", "layers"): "all layers are one set of weights",
    ("deberta", "heads"): "interleaved head by head",
    ("deberta", "hidden"): "interleaved head by head",
    ("deberta", "relations"): "interleaved head by head",
    ("bart", "hidden"): "encoder and decoder share one embedding",
    ("deberta-v2", "hidden"): "read embeddings of positions too",
    ("deberta-v2", "relations"): "read embeddings of positions too",
    ("deberta-v3", "hidden"): "read embeddings of positions too",
    ("deberta-v3", "relations"): "read embeddings of positions too",
    ("mpnet", "heads"): "one position bias per head",
    ("xlnet", "heads"): "bare parameters",
    ("xlnet", "hidden"): "bare parameters",
    ("xlnet", "relations"): "bare parameters",
}


def logits(model: Any) -> torch.Tensor:
    """Its answer to two texts that end with [SEP], as BART's classifier needs; the second is padded."""
    batch = inputs(model)
    batch["input_ids"][0, -1] = batch["input_ids"][1, 6] = 3
    with torch.no_grad():
        answer: torch.Tensor = model(**batch).logits
    return answer


def pairs() -> list[Any]:
    """Every family with every step; all but one of a family are for `make test-long`."""
    return [
        pytest.param(family, step, marks=() if place == index % len(STEPS) else pytest.mark.long, id=f"{family}-{step}")
        for index, family in enumerate(ENCODERS)
        for place, step in enumerate(STEPS)
    ]


@pytest.mark.parametrize(("family", "step"), pairs())
def test_every_step_applies_to_the_family_and_loads_equal_or_is_refused(family: str, step: str, tmp_path: Path) -> None:
    model = ENCODERS[family]()
    before, plain = sum(p.numel() for p in model.parameters()), logits(model)
    if (reason := REFUSED.get((family, step))) is not None:
        with pytest.raises(InputError, match=f"does not apply to model type '{model.config.model_type}': .*{reason}"):
            apply_step(bundle(model), STEPS[step])
        assert torch.equal(logits(model), plain)
        return
    done = apply_step(bundle(model), STEPS[step])
    answer = logits(done.model)
    assert answer.isfinite().all() and not torch.equal(answer, plain)
    if step in ("feed_forward", "heads", "hidden", "layers", "lowrank"):
        assert sum(p.numel() for p in done.model.parameters()) < before
    artifact.save(done, tmp_path / "artifact")
    torch.testing.assert_close(logits(artifact.load(tmp_path / "artifact")[0]), answer)


@pytest.mark.parametrize("family", ENCODERS)
def test_neurons_that_are_cut_answer_like_silenced_ones(family: str) -> None:
    whole = ENCODERS[family]()
    model = copy.deepcopy(whole)
    done = prune(bundle(model), Prune(fraction=0.25))
    for layer, cut in zip(layers_of(whole, ""), layers_of(model, ""), strict=True):
        output, kept = (matrix(each.get(layer.architecture.ffn_out)) for each in (layer, cut))
        gone = rows_gone(output.T, kept.T)
        assert kept.shape[1] == 48 and len(gone) == 16
        output[:, gone] = 0
    torch.testing.assert_close(logits(done.model), logits(whole), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", [family for family in ENCODERS if (family, "heads") not in REFUSED])
def test_heads_that_are_cut_answer_like_silenced_ones(family: str) -> None:
    whole = ENCODERS[family]()
    model = copy.deepcopy(whole)
    fraction = 0.5 if family == "eurobert" else 0.25
    prune(bundle(model), Prune(structure="heads", fraction=fraction))
    for layer, cut in zip(layers_of(whole, ""), layers_of(model, ""), strict=True):
        output, kept = (matrix(each.get(layer.architecture.output)) for each in (layer, cut))
        gone = rows_gone(output.T, kept.T)
        attention = read_attention(layer)
        assert len(gone) == attention.shared * attention.head_size * round(fraction * attention.groups)
        output[:, gone] = 0
    torch.testing.assert_close(logits(model), logits(whole), atol=1e-5, rtol=1e-5)


def test_heads_of_projected_positions_go_with_those_of_the_content() -> None:
    model = deberta_v2()
    prune(bundle(model), Prune(structure="heads", fraction=0.25))
    attention = model.deberta.encoder.layer[0].attention.self
    assert [attention.pos_key_proj.out_features, attention.pos_query_proj.out_features] == [24, 24]


def test_a_form_of_a_family_that_the_names_do_not_cover_is_refused() -> None:
    model = encoder("Albert", **FIELDS, embedding_size=16, inner_group_num=2)
    with pytest.raises(InputError, match="prune feed_forward: albert with inner_group_num 2 is unknown; expected 1"):
        prune(bundle(model), Prune(fraction=0.25))
