"""A graph takes the inputs that the tokenizer gives, and answers like the model before anything is made of it."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import onnx
import pytest
import torch
import transformers

import compress
from compress.base.config import InputError
from compress.methods import apply_step
from compress.model import runtimes
from compress.model.agreement import NONE, Agreement
from compress.model.bundle import Bundle
from compress.model.runtimes import check as graph_check
from compress.model.runtimes.graph import GraphModel, OnnxModel
from compress.spec.steps import Quantize
from tests import made_models
from tests.helpers import sentences, tokenizer
from tests.made_models import bundle


def gpt2() -> Any:
    """A GPT-2 classifier of one layer: it embeds token types as words, and its tokenizers give none."""
    config = transformers.GPT2Config(
        vocab_size=64, n_positions=66, n_embd=32, n_layer=1, n_head=4, bos_token_id=2, eos_token_id=3, pad_token_id=0
    )
    return made_models.random_model(transformers.GPT2ForSequenceClassification, config)


def with_types(model: Any) -> Bundle:
    """A bundle of pairs of texts, whose tokenizer gives the second text of a pair another type."""
    import datasets

    tokens = tokenizer()
    tokens.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    texts = sentences(20, 0)["text"]
    ids = tokens(texts)["input_ids"]
    types = [[int(place > len(row) // 2) for place in range(len(row))] for row in ids]
    examples = datasets.Dataset.from_dict({"labels": [0] * 20, "input_ids": ids, "token_type_ids": types})
    return bundle(model, processor=tokens, train=lambda: examples)


def padded_batch(types: bool) -> dict[str, torch.Tensor]:
    """Four texts of 19 tokens and fewer."""
    ids = torch.randint(4, 28, (4, 19), generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(ids)
    mask[1, 9:], ids[1, 9:] = 0, 0
    kinds = (torch.arange(19) > 7).long().expand(4, -1) * mask
    return {"input_ids": ids, "attention_mask": mask, **({"token_type_ids": kinds} if types else {})}


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(("make", "types"), [(gpt2, False), (lambda: made_models.bert(1), True)], ids=["gpt2", "pairs"])
def test_a_graph_takes_what_the_tokenizer_gives_and_answers_like_the_model(
    runtime: str, make: Any, types: bool
) -> None:
    model, given = make(), padded_batch(types)
    graph = runtimes.finish(with_types(model) if types else bundle(model), runtime).model
    assert ("token_type_ids" in graph.inputs) is types
    with torch.no_grad():
        expected = model(**given).logits
        if types:
            assert not torch.allclose(expected, model(**padded_batch(types=False)).logits, atol=1e-2)  # types matter
    most = 1e-5 if runtime == "onnxruntime" else 0.05  # openvino: bf16 where the CPU computes it
    torch.testing.assert_close(graph(**given).logits, expected, rtol=1e-4, atol=most)


def test_int8_graphs_are_made_of_graphs_that_answer_like_the_model() -> None:
    model = gpt2()
    given = padded_batch(types=False)
    with torch.no_grad():
        expected = model(**given).logits
    made = apply_step(bundle(model), Quantize(bits=8, backend="onnxruntime")).model
    assert made.inputs == ("input_ids", "attention_mask")
    assert float((made(**given).logits - expected).abs().max() / (expected.max() - expected.min())) < 0.1


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_graph_that_answers_otherwise_is_refused(runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an exporter that drops or changes something: here one weight is another one."""
    real = graph_check.exported

    def wrong(*given: Any) -> OnnxModel:
        return edited_graph(real(*given), lambda graph: change(graph.initializer, "model.transformer.ln_f.bias"))

    monkeypatch.setattr(graph_check, "exported", wrong)
    told = rf"{runtime}: GPT2ForSequenceClassification: .*differ by up to \d.* at a spread of .*use runtime eager"
    with pytest.raises(InputError, match=told):
        runtimes.finish(bundle(gpt2()), runtime)


def test_a_graph_of_one_batch_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    real = graph_check.exported

    def fix(graph: Any) -> None:
        for value in graph.input:
            value.type.tensor_type.shape.dim[0].dim_value = 2

    monkeypatch.setattr(graph_check, "exported", lambda *given: edited_graph(real(*given), fix))
    with pytest.raises(InputError, match=r"onnxruntime: .* fails on a batch of \[1, \d+\]"):
        runtimes.finish(bundle(gpt2()), "onnxruntime")


def edited_graph(graph: OnnxModel, edit: Callable[[Any], None]) -> OnnxModel:
    """The graph, its file changed."""
    plain = onnx.load(str(graph.path))
    edit(plain.graph)
    onnx.save(plain, str(graph.path))
    return graph


def change(tensors: Any, name: str) -> None:
    """Adds 0.3 to the first number of a tensor of a graph."""
    (tensor,) = (each for each in tensors if each.name == name)
    values = onnx.numpy_helper.to_array(tensor).copy()
    values.flat[0] += 0.3
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, name))


class Taking(GraphModel):
    """A graph with these inputs, which answers with them."""

    kind: Literal["onnx", "openvino"] = "onnx"

    def __init__(self, inputs: tuple[str, ...], **config: Any) -> None:
        super().__init__(Path("none"), SimpleNamespace(**config))
        self._inputs = inputs

    @property
    def inputs(self) -> tuple[str, ...]:
        return self._inputs

    def run(self, feeds: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return torch.stack([feeds[name] for name in self._inputs])

    def signature(self) -> Any:
        raise AssertionError("not described by these tests")

    def operator_seconds(self, batch: Mapping[str, torch.Tensor]) -> dict[str, float]:
        raise AssertionError("not run by these tests")

    def weights(self) -> Iterator[Any]:
        raise AssertionError("not run by these tests")


def test_an_absent_input_is_what_the_model_takes_it_for_or_an_error() -> None:
    ids, every = torch.full((2, 3), 7), ("input_ids", "attention_mask", "token_type_ids")
    bert, gpt = Taking(every, type_vocab_size=2), Taking(every)
    assert torch.equal(bert(ids).logits, torch.stack([ids, torch.ones_like(ids), torch.zeros_like(ids)]))
    with pytest.raises(InputError, match=r"missing input token_type_ids; .*: add it"):
        gpt(input_ids=ids)
    with pytest.raises(InputError, match=r"missing input input_ids; .*: add it"):
        bert(attention_mask=ids)


def test_an_input_that_the_graph_does_not_take_is_an_error_unless_it_changes_nothing() -> None:
    ids = torch.full((2, 3), 7)
    ones, zeros, few = torch.ones_like(ids), torch.zeros_like(ids), torch.tensor([[1, 1, 0]] * 2)
    bert, gpt = Taking(("input_ids",), type_vocab_size=2), Taking(("input_ids",))
    fine: dict[str, Any] = {"attention_mask": ones, "labels": few, "use_cache": False}
    assert torch.equal(bert(ids, token_type_ids=zeros, **fine).logits, ids[None])
    assert torch.equal(gpt(ids, **fine).logits, ids[None])
    wrong = ((bert, "attention_mask", few), (bert, "token_type_ids", few), (gpt, "token_type_ids", zeros),
             (gpt, "position_ids", zeros))  # fmt: skip
    for graph, name, value in wrong:
        with pytest.raises(InputError, match=f"unexpected input {name}; the graph takes input_ids"):
            graph(ids, **{name: value})


def test_graphs_are_compared_on_two_shapes_one_of_them_padded() -> None:
    texts = bundle(made_models.bert(1))
    asked: list[int] = []

    def examples(count: int) -> Any:
        asked.append(count)
        return made_models.text_examples(count)

    for one in (texts, bundle(texts.model, examples=examples, train=None), bundle(texts.model, train=None)):
        alone, several = graph_check.check_batches(one)
        assert set(alone) == set(several) == {"input_ids", "attention_mask"}
        assert [len(alone["input_ids"]), len(several["input_ids"])] == [1, 3]
        assert alone["input_ids"].shape[1] >= several["input_ids"].shape[1]
        assert bool(alone["attention_mask"].all()) and not bool(several["attention_mask"].all())
    assert asked == [graph_check.SAMPLE]


def vit() -> Any:
    """A ViT of one layer on 8 x 8 pictures in colour."""
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64, image_size=8, patch_size=4
    )
    return made_models.random_model(transformers.ViTForImageClassification, config)


PICTURES = transformers.ViTImageProcessor(size={"height": 8, "width": 8})


@pytest.mark.parametrize(
    ("make", "task", "processor"),
    [
        (lambda: made_models.bert(1), "text-classification", tokenizer),
        (gpt2, "text-classification", tokenizer),
        (lambda: made_models.gpt2(1), "causal-lm", tokenizer),
        (vit, "image-classification", lambda: PICTURES),
    ],
    ids=["bert", "gpt2", "gpt2-lm", "vit"],
)
def test_a_model_that_comes_without_examples_is_exported_and_compared_on_made_ones(
    make: Any, task: Any, processor: Any
) -> None:
    one = bundle(make(), task=task, processor=processor(), train=None)
    assert graph_check.checked(one, "onnxruntime").path.exists()


def test_a_recipe_of_an_exported_graph_is_applied_without_a_data_set() -> None:
    made = compress.apply(compress.Recipe(steps=(Quantize(bits=8),)), made_models.bert(1), tokenizer())
    assert made.kind in ("onnx", "openvino")


def test_pictures_are_compared_in_the_size_that_the_processor_makes() -> None:
    processor = transformers.ViTImageProcessor(size={"height": 24, "width": 40})
    one = bundle(made_models.resnet(), task="image-classification", processor=processor, train=None)
    found = [list(batch["pixel_values"].shape) for batch in graph_check.check_batches(one)]
    assert found == [[1, 3, 24, 40], [3, 3, 24, 40]]


def test_agreement_is_the_largest_difference_and_never_of_one_that_is_not_finite() -> None:
    none = NONE
    expected = torch.tensor([[-1.0, 3.0], [float("-inf"), 0.0]])
    near = expected + torch.tensor([[0.25, 0.0], [0.0, -0.5]])
    found = none.joined(expected, near)
    assert (found.difference, found.spread) == (0.5, 4.0)
    assert found.most(1e-3) == pytest.approx(4e-3)
    assert Agreement(0.0, 100.0, 100.0).most(1e-3) == pytest.approx(1e-3)  # logits that do not differ
    for wrong in (near.nan_to_num(), torch.full((2, 2), float("nan")), near[:1]):
        assert found.joined(expected, wrong).difference == float("inf")
