"""Inputs of layers are captured without padding, shared where they are shared, and block by block."""

import pytest
import torch

from compress.methods.calibrate import batches
from compress.methods.capture import blocks, capture, run_once, walk
from compress.spec.steps import LowRank, Sample
from tests import made_models


def test_names_are_grouped_by_their_first_number() -> None:
    names = ["a.0.q", "a.0.k", "a.1.q", "head", "a.1.v.2"]
    assert blocks(names) == [["a.0.q", "a.0.k"], ["a.1.q"], ["head"], ["a.1.v.2"]]
    assert blocks([]) == []


def drawn(sample: Sample, seed: int = 0) -> list[tuple[int, ...]]:
    """The token lists of a sample, without padding, in no order."""
    bundle = made_models.bundle(made_models.bert(), seed=seed)
    rows = []
    for batch in batches(bundle, "test", sample, batch_size=7):
        rows += [
            tuple(ids[mask.bool()].tolist())
            for ids, mask in zip(*(batch[k] for k in ("input_ids", "attention_mask")), strict=True)
        ]
    return sorted(rows)


def test_a_sample_is_drawn_by_its_own_seed_or_the_recipes() -> None:
    everything = [tuple(ids) for ids in made_models.text_examples()["input_ids"]]
    assert len(drawn(Sample(20))) == 20 and set(drawn(Sample(20))) <= set(everything)
    assert drawn(Sample(20)) == drawn(Sample(20, seed=0)) != drawn(Sample(20, seed=3))
    assert drawn(Sample(20, seed=3)) == drawn(Sample(20, seed=3), seed=5) == drawn(Sample(20), seed=3)
    assert drawn(Sample(1000)) == sorted(everything)


def test_a_sample_is_cut_to_its_length_and_texts_stay_closed() -> None:
    closing = made_models.bundle(made_models.bert()).processor.sep_token_id
    whole, cut = drawn(Sample(64)), drawn(Sample(64, length=5))
    assert max(map(len, whole)) > 5 == max(map(len, cut))
    assert all(ids[-1] == closing for ids in cut)


def test_the_fields_of_a_step_say_which_examples_calibrate() -> None:
    step = LowRank(weighting="whitened", calibration_examples=9, calibration_length=6, calibration_seed=2)
    assert step.sample == Sample(9, 6, 2)
    name = "bert.encoder.layer.0.attention.self.query"
    ((_, inputs),) = walk(made_models.bundle(made_models.bert()), "test", step.sample, [name])
    assert inputs is not None and inputs.rows <= 9 * 6


def test_the_gram_matrix_is_the_sum_over_real_tokens() -> None:
    model = made_models.bert()
    bundle = made_models.bundle(model)
    examples = list(batches(bundle, "test", Sample(24), batch_size=5))
    name = "bert.encoder.layer.1.output.dense"
    rows = []
    hook = model.get_submodule(name).register_forward_pre_hook(lambda _, given: rows.append(given[0]))
    with torch.no_grad():
        for batch in examples:
            model(**batch)
    hook.remove()
    real = torch.cat([x[batch["attention_mask"].bool()] for x, batch in zip(rows, examples, strict=True)]).double()
    found = capture(model, examples, [name])[name]
    assert found.rows == len(real) < sum(x.shape[0] * x.shape[1] for x in rows)
    torch.testing.assert_close(found.gram.double(), real.T @ real, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.absolute, real.abs().sum(0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.norms, real.norm(dim=0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "llama", "gpt2", "distilbert"])
def test_layers_fed_the_same_tensor_share_their_statistics(kind: str) -> None:
    model = getattr(made_models, kind)()
    names = [
        n for n, m in model.named_modules() if type(m).__name__ in ("Linear", "Conv1D") and any(c.isdigit() for c in n)
    ]
    block = blocks(names)[1]
    ids = [{key: value for key, value in made_models.inputs(model).items()}]
    found = capture(model, ids, block)
    assert set(found) == set(block)
    queries = [n for n in block if any(part in n for part in ("query", "key", "value", "q_", "k_", "v_"))]
    assert len({id(found[n]) for n in queries}) <= 1
    assert len({id(inputs) for inputs in found.values()}) >= 3


def test_only_the_layers_up_to_the_last_one_asked_for_run() -> None:
    model = made_models.bert(layers=3)
    ran = []
    hook = model.bert.encoder.layer[2].register_forward_pre_hook(lambda *_: ran.append(1))
    examples, names = [made_models.inputs(model)], ["bert.encoder.layer.0.output.dense"]
    capture(model, examples, names, run_once(model, examples, names))
    assert ran == [1]  # to see that no layer runs again
    assert not model.training
    hook.remove()


def test_a_later_block_sees_what_an_earlier_one_has_become() -> None:
    model, name = made_models.bert(), "bert.encoder.layer.1.intermediate.dense"
    given = [made_models.inputs(model)]
    before = capture(model, given, [name])[name].gram
    torch.nn.init.zeros_(model.bert.encoder.layer[0].output.dense.weight)
    assert not torch.allclose(before, capture(model, given, [name])[name].gram)
