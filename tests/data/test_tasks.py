"""What each task makes of examples: padded batches, batches of one shape, outcomes that do not depend on batching."""

import copy
import math
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch

from compress.base.config import InputError
from compress.data import loading, locate
from compress.data.dataset import Dataset
from compress.data.point import OperatingPoint
from compress.data.tasks import blocks as packing
from compress.data.tasks import task_of
from compress.data.workload import Workload
from compress.measure.evaluate import evaluate
from compress.methods import apply_step
from compress.model import runtimes
from compress.model.skeleton import empty_copy
from compress.spec.formats import BATCH_DEPENDENT, BITS, ROWS
from compress.spec.recipe import Recipe
from compress.spec.steps import Cast, LowRank, Prune, Quantize, Step
from tests.convolutions import FAMILIES
from tests.helpers import assets, bert, sentences, tokenizer, trained_bert
from tests.made_models import bundle


def own_workload(task: str, max_length: int = 32, **dataset: Any) -> Workload:
    return Workload(name="own", task=task, model="m", dataset=Dataset(path="d", **dataset), max_length=max_length)


# text classification


def prepared_examples(count: int = 24, max_length: int = 32) -> datasets.Dataset:
    raw = datasets.Dataset.from_dict(sentences(count, seed=5))
    return task_of("text-classification").prepare(
        raw, tokenizer(), own_workload("text-classification", max_length), bert().config
    )


def test_texts_are_cut_at_max_length_and_kept_beside_their_tokens() -> None:
    examples = prepared_examples(max_length=8)
    assert max(len(ids) for ids in examples["input_ids"]) == 8
    assert examples["text"] == sentences(24, seed=5)["text"]
    assert all(ids[0] == 2 and ids[-1] == 3 for ids in examples["input_ids"])


@pytest.mark.parametrize("text", ["", "   ", "\u4e2d"])
def test_texts_without_a_known_token_are_refused_and_some_of_them_are_not(text: str) -> None:
    workload = own_workload("text-classification", 32)
    raw = datasets.Dataset.from_dict({**sentences(4, seed=5), "text": [text] * 4})
    with pytest.raises(InputError, match=r"^all 4 texts are empty, or have only unknown tokens"):
        task_of("text-classification").prepare(raw, tokenizer(), workload, bert().config)
    some = datasets.Dataset.from_dict({**sentences(4, seed=5), "text": [text, *sentences(4, seed=5)["text"][1:]]})
    assert len(task_of("text-classification").prepare(some, tokenizer(), workload, bert().config)) == 4


def test_a_batch_is_padded_to_its_longest_and_not_further() -> None:
    task, examples = task_of("text-classification"), prepared_examples()
    for rows in ([0, 1, 2], [5], list(range(24))):
        batch = task.collate([examples[i] for i in rows], tokenizer())
        lengths = [task.lengths(examples)[i] for i in rows]
        assert batch["input_ids"].shape == (len(rows), max(lengths))
        assert batch["attention_mask"].sum(1).tolist() == lengths
        assert batch["labels"].tolist() == [examples[i]["labels"] for i in rows]


def answers(order: list[int], batch_size: int) -> dict[int, float]:
    """The prediction of every example, evaluated in this order and batch size."""
    task, examples, model = task_of("text-classification"), prepared_examples(), bert()
    found: dict[int, float] = {}
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = task.collate([examples[i] for i in rows], tokenizer())
        with torch.no_grad():
            outcomes = task.outcomes(model(**batch).logits, batch)
        found |= dict(zip(rows, outcomes["prediction"], strict=True))
    return found


@pytest.mark.parametrize("batch_size", [1, 7, 24, 40])
def test_every_example_is_answered_once_in_batches_of_one_size(batch_size: int) -> None:
    sizes: list[int] = []
    model = bert()

    def counted(**batch: Any) -> Any:
        sizes.append(len(batch["input_ids"]))
        return model(**batch)

    task, examples = task_of("text-classification"), prepared_examples()
    found = evaluate(counted, task, examples, tokenizer(), torch.device("cpu"), batch_size).outcomes
    assert set(sizes) == {min(batch_size, 24)}
    one_by_one = answers(list(range(24)), 1)
    assert [found["prediction"][i] for i in range(24)] == [one_by_one[i] for i in range(24)]
    assert found["reference"] == [float(label) for label in examples["labels"]]


def test_answers_do_not_depend_on_batch_size_or_order() -> None:
    order = list(range(24))
    shuffled = np.random.default_rng(0).permutation(24).tolist()
    assert answers(order, 1) == answers(order, 7) == answers(shuffled, 24)


WEIGHTS_ONLY: dict[str, tuple[Step, ...]] = {
    "bf16": (Cast(),),
    "fp16": (Cast(dtype="fp16"),),
    "masked": (Prune(structure="unstructured", fraction=0.3),),
    "lowrank": (LowRank(rank=12),),
    **{
        f"{row.format} {row.backend}": (
            Quantize(bits=BITS[row.format], format=row.format, backend=row.backend, group_size=32),
        )
        for row in ROWS
        if row.device == "cpu" and (row.format, row.backend) not in BATCH_DEPENDENT and row.backend != "quanto"
    },
}


@pytest.fixture(scope="module")
def taught() -> Any:
    return trained_bert()


@pytest.mark.parametrize("form", WEIGHTS_ONLY)
def test_answers_in_no_format_without_rounded_activations_depend_on_batch_size_or_order(form: str, taught: Any) -> None:
    task, examples = task_of("text-classification"), prepared_examples(count=64)
    made = bundle(copy.deepcopy(taught))
    for step in WEIGHTS_ONLY[form]:
        made = apply_step(made, step)
    model = runtimes.finish(made, made.runtime).model
    found = [
        evaluate(model, task, part, tokenizer(), torch.device("cpu"), batch_size).outcomes["prediction"]
        for part, batch_size in ((examples, 1), (examples, 32), (examples.select(range(63, -1, -1)), 7))
    ]
    assert found[0] == found[1] == found[2][::-1]
    assert len(set(found[0])) == 2  # both classes are answered


def test_an_answer_that_is_not_finite_is_no_class() -> None:
    logits = torch.tensor([[0.0, 1.0], [math.nan, 0.0], [math.inf, 0.0]])
    outcomes = task_of("text-classification").outcomes(logits, {"labels": torch.tensor([1, 0, 0])})
    assert outcomes == {"prediction": [1.0, -1.0, -1.0], "reference": [1.0, 0.0, 0.0]}


def test_two_text_columns_become_one_input_with_both() -> None:
    raw = datasets.Dataset.from_dict({"a": ["the film"], "b": ["a plot"], "label": [1]})
    workload = own_workload("text-classification", text="a", text_pair="b")
    examples = task_of("text-classification").prepare(raw, tokenizer(), workload, bert().config)
    assert tokenizer().decode(examples["input_ids"][0]) == "[CLS] the film [SEP] a plot [SEP]"
    assert (examples["text"][0], examples["text_pair"][0]) == ("the film", "a plot")


def test_timing_batches_are_real_text_of_exactly_the_asked_shape() -> None:
    task, examples = task_of("text-classification"), prepared_examples()
    point = OperatingPoint(batch_size=4, sequence_length=16)
    batches = task.fixed(examples, tokenizer(), point, count=3, seed=0)
    real = {token for ids in examples["input_ids"] for token in ids} - {2, 3}
    assert len(batches) == 3
    for batch in batches:
        assert batch["input_ids"].shape == (4, 16)
        assert batch["attention_mask"].all()
        assert "labels" not in batch
        assert set(batch["input_ids"][:, 0].tolist()) == {2}
        assert set(batch["input_ids"][:, -1].tolist()) == {3}
        assert set(batch["input_ids"][:, 1:-1].flatten().tolist()) <= real


def test_timing_batches_follow_their_seed() -> None:
    task, examples = task_of("text-classification"), prepared_examples()
    point = OperatingPoint(batch_size=2, sequence_length=8)
    one, same, other = (task.fixed(examples, tokenizer(), point, 2, seed)[0]["input_ids"] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_few_examples_fill_many_timing_batches_by_starting_over() -> None:
    point = OperatingPoint(batch_size=8, sequence_length=12)
    batches = packing.packed([[2, 7, 8, 9, 3]], tokenizer(), point, count=2, seed=0)
    inner = torch.cat([batch["input_ids"][:, 1:-1] for batch in batches]).flatten().tolist()
    assert inner == [7 + i % 3 for i in range(len(inner))]


def test_a_point_without_room_for_text_is_refused() -> None:
    with pytest.raises(InputError, match="needs a sequence_length"):
        packing.packed([[5]], tokenizer(), OperatingPoint(batch_size=1), 1, 0)
    with pytest.raises(InputError, match="contain no tokens"):
        packing.packed([[2, 3]], tokenizer(), OperatingPoint(batch_size=1, sequence_length=8), 1, 0)


# causal language modelling


def bytes_tokenizer(begin: bool) -> Any:
    """A byte-level tokenizer: one token per byte, with or without a first token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({"<s>": 0, **{c: i + 1 for i, c in enumerate(alphabet)}}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    steps: list[Any] = [processors.ByteLevel(trim_offsets=False)]
    if begin:
        steps.append(processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)]))
    inner.post_processor = processors.Sequence(steps)
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>")


TEXT = "def π(r):\n    return 3.14159 * r  # naïve\n" * 3


def blocks(begin: bool, length: int = 16, texts: tuple[str, ...] = (TEXT,)) -> datasets.Dataset:
    raw = datasets.Dataset.from_dict({"text": list(texts)})
    return task_of("causal-lm").prepare(raw, bytes_tokenizer(begin), own_workload("causal-lm", length), None)


def test_with_a_first_token_every_byte_is_predicted_once() -> None:
    examples = blocks(begin=True)
    assert sum(examples["bytes"]) == len(TEXT.strip().encode())
    assert "".join(examples["text"]) == TEXT.strip()
    assert max(len(ids) for ids in examples["input_ids"]) == 16
    assert all(ids[0] == 0 for ids in examples["input_ids"])


def test_without_a_first_token_the_first_of_each_block_is_not_counted() -> None:
    examples = blocks(begin=False, texts=("abcdefgh" * 4,))
    assert [len(ids) for ids in examples["input_ids"]] == [16, 16]
    assert examples["bytes"] == [15, 15]
    assert examples["text"][0] == "bcdefghabcdefgh"


def test_a_block_in_which_nothing_is_predicted_is_dropped() -> None:
    examples = blocks(begin=False, texts=("x" * 17,))
    assert [len(ids) for ids in examples["input_ids"]] == [16]


def test_the_end_of_text_mark_keeps_documents_in_blocks_of_their_own() -> None:
    examples = blocks(begin=True, texts=("one<|endoftext|>two", "three"))
    assert examples["text"] == ["one", "two\n\nthree"]


def llama(vocabulary: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=vocabulary, max_position_embeddings=64, num_key_value_heads=2, **sizes)
    return LlamaForCausalLM(config).eval()


@pytest.mark.parametrize("begin", [True, False], ids=["first token", "no first token"])
def test_likelihoods_are_those_of_the_single_blocks_whatever_the_batch(begin: bool) -> None:
    task, examples = task_of("causal-lm"), blocks(begin)
    tokens = bytes_tokenizer(begin)
    model = llama(len(tokens))
    with torch.no_grad():
        batch = task.collate(list(examples), tokens)
        together = task.outcomes(model(**{k: v for k, v in batch.items() if k != "labels"}).logits, batch)
        for row, ids in enumerate(examples["input_ids"]):
            logits = model(torch.tensor([ids])).logits[0]
            expected = -logits.log_softmax(-1)[range(len(ids) - 1), ids[1:]].sum().item()
            assert together["nll"][row] == pytest.approx(expected, rel=1e-4)
            assert together["tokens"][row] == len(ids) - 1


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary() -> None:
    task, examples = task_of("causal-lm"), blocks(begin=True)
    batch = task.collate(list(examples), bytes_tokenizer(True))
    outcomes = task.outcomes(torch.zeros(*batch["input_ids"].shape, 257), batch)
    assert math.exp(sum(outcomes["nll"]) / sum(outcomes["tokens"])) == pytest.approx(257, rel=1e-4)


def test_a_plain_text_file_is_a_workload(tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_text(TEXT, encoding="utf-8")
    tokens = bytes_tokenizer(begin=True)
    llama(len(tokens)).save_pretrained(tmp_path / "model")
    tokens.save_pretrained(tmp_path / "model")
    workload = Workload(
        name="own",
        task="causal-lm",
        model=str(tmp_path / "model"),
        dataset=Dataset(path=str(tmp_path / "test.txt")),
        max_length=16,
    )
    found = locate.resolve(workload)
    model, processor = loading.load_model(found)
    examples = loading.load_examples(found, "test", processor, model.config)
    loading.check(found, model, processor, examples)
    assert "".join(examples["text"]) == TEXT.strip()
    assert len(loading.load_examples(found, "test", processor, model.config, limit=3)) == 3


def test_the_real_stories_model_has_its_known_loss() -> None:
    text, folder = assets("data", "tinystories", "cs336_sample.txt"), assets("models", "stories260K")
    workload = Workload(
        name="stories",
        task="causal-lm",
        model=str(folder),
        dataset=Dataset(path=str(text)),
        max_length=512,
    )
    found = locate.resolve(workload)
    model, processor = loading.load_model(found)
    examples = loading.load_examples(found, "test", processor, model.config)
    task = task_of("causal-lm")
    batch = task.collate(list(examples), processor)
    with torch.no_grad():
        outcomes = task.outcomes(model(**batch).logits, batch)
    assert sum(outcomes["nll"]) / sum(outcomes["tokens"]) == pytest.approx(1.266, abs=0.001)
    assert sum(outcomes["tokens"]) == 1804


# image classification


def vit(size: int = 16) -> Any:
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    return ViTForImageClassification(ViTConfig(image_size=size, patch_size=4, num_labels=3, **sizes)).eval()


def images(count: int = 6) -> datasets.Dataset:
    from PIL import Image

    draw = np.random.default_rng(0)
    pictures = [Image.fromarray(draw.integers(0, 255, (8, 8), dtype=np.uint8)) for _ in range(count)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    return datasets.Dataset.from_dict({"image": pictures, "label": [i % 3 for i in range(count)]}, features=features)


def image_processor(size: int = 16) -> Any:
    from transformers import ViTImageProcessor

    return ViTImageProcessor(size={"height": size, "width": size})


def test_images_become_the_processors_pixels_and_grey_ones_three_channels() -> None:
    task = task_of("image-classification")
    examples = task.prepare(images(), image_processor(), own_workload("image-classification"), vit().config)
    batch = task.collate([examples[i] for i in range(6)], image_processor())
    assert batch["pixel_values"].shape == (6, 3, 16, 16)
    expected = image_processor()(images=images()[4]["image"].convert("RGB"), return_tensors="pt")["pixel_values"][0]
    assert torch.allclose(batch["pixel_values"][4], expected)
    with torch.no_grad():
        outcomes = task.outcomes(vit()(**batch).logits, batch)
    assert outcomes["reference"] == [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]


def test_timing_batches_of_images_have_the_asked_size_even_from_few_images() -> None:
    task = task_of("image-classification")
    examples = task.prepare(images(3), image_processor(), own_workload("image-classification"), vit().config)
    batches = task.fixed(examples, image_processor(), OperatingPoint(batch_size=4), count=2, seed=0)
    assert [batch["pixel_values"].shape[0] for batch in batches] == [4, 4]
    assert set(batches[0]) == {"pixel_values"}


def test_an_image_model_of_another_size_and_rows_that_are_no_images_are_refused() -> None:
    task, workload = task_of("image-classification"), own_workload("image-classification")
    examples = task.prepare(images(), image_processor(24), workload, vit().config)
    assert task.check(vit(), image_processor(24), examples, workload) == [
        "takes images of 16 x 16, but its image processor gives 24 x 24"
    ]
    with pytest.raises(InputError, match="row 0 is a str; expected an image"):
        task.prepare(
            datasets.Dataset.from_dict({"image": ["x"], "label": [0]}), image_processor(), workload, vit().config
        )


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet", "convnext", "resnet", "dinov2"])
def test_an_image_size_that_the_model_is_not_bound_to_is_not_asked_for(name: str) -> None:
    task, workload = task_of("image-classification"), own_workload("image-classification")
    model = FAMILIES[name]()  # of 32 x 32 by its configuration, if that states a size
    examples = task.prepare(images(), image_processor(64), workload, model.config)
    for one in (model, empty_copy(model)):
        assert task.check(one, image_processor(64), examples, workload) == []


def test_a_table_may_name_image_files_beside_it(tmp_path: Path) -> None:
    vit().save_pretrained(tmp_path / "model")
    image_processor().save_pretrained(tmp_path / "model")
    (tmp_path / "data" / "pictures").mkdir(parents=True)
    rows = ["file,label"]
    for number, picture in enumerate(images()["image"]):
        picture.save(tmp_path / "data" / "pictures" / f"{number}.png")
        rows.append(f"pictures/{number}.png,{number % 3}")
    table = tmp_path / "data" / "test.csv"
    table.write_text("\n".join(rows))
    workload = Workload(
        name="own",
        task="image-classification",
        model=str(tmp_path / "model"),
        dataset=Dataset(path=str(tmp_path / "data"), train=None, image="file"),
    )
    found = locate.resolve(workload)
    examples = loading.load_examples(found, "test", image_processor(), vit().config)
    task = task_of("image-classification")
    expected = task.prepare(images(), image_processor(), own_workload("image-classification"), vit().config)
    assert np.array_equal(examples[4]["pixel_values"], expected[4]["pixel_values"])
    assert examples["labels"] == [0, 1, 2, 0, 1, 2]
    before = found.digest
    images()["image"][0].save(tmp_path / "data" / "pictures" / "5.png")
    assert locate.resolve(workload).digest != before
    table.write_text("file,label\npictures/lost.png,0")
    alone = Workload(**{**workload.model_dump(), "dataset": Dataset(path=str(table), train=None, image="file")})
    with pytest.raises(InputError, match="give the folder that holds table and images"):
        loading.load_examples(locate.resolve(alone), "test", image_processor(), vit().config)
    with pytest.raises(InputError, match=r"row 0 of column 'file': no image file 'pictures/lost\.png'"):
        loading.load_examples(locate.resolve(workload), "test", image_processor(), vit().config)


def test_rows_without_an_image_are_found_before_any_is_decoded() -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    holes = datasets.Dataset.from_dict({"image": [images()[0]["image"], None], "label": [0, 1]}, features=features)
    with pytest.raises(InputError, match="row 1 is null; expected an image"):
        task_of("image-classification").prepare(
            holes, image_processor(), own_workload("image-classification"), vit().config
        )


def test_pixels_of_a_split_are_not_kept_in_memory() -> None:
    computed: list[int] = []
    plain = image_processor()

    def processor(**given: Any) -> Any:
        computed.append(1)
        return plain(**given)

    task = task_of("image-classification")
    examples = task.prepare(images(30), processor, own_workload("image-classification"), vit().config)
    assert task.lengths(examples) == [1] * 30
    assert not computed
    assert examples[3]["pixel_values"].shape == (3, 16, 16)
    assert len(computed) == 1


def test_a_regression_model_is_no_classifier() -> None:
    from transformers import BertConfig, BertForSequenceClassification

    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = BertForSequenceClassification(BertConfig(vocab_size=64, num_labels=1, **sizes))
    problems = task_of("text-classification").check(
        model, tokenizer(), prepared_examples(), own_workload("text-classification")
    )
    way_out = "set task to text-regression, or to text-ranking"
    assert problems == [f"has 1 output, a regression; expected at least 2 classes: {way_out}"]


def test_recipes_for_language_models_fit_gpt2_whose_layers_are_transposed() -> None:
    from compress.harness.preflight import step_problems, traceable
    from compress.measure.kernels import zero_share
    from compress.methods import apply_step
    from compress.model.skeleton import empty_copy
    from compress.spec.steps import Prune
    from tests import made_models

    model = made_models.gpt2()
    for name in ("llama_int8", "llama_int4", "llama_lowrank"):
        empty = made_models.trainable(traceable(empty_copy(model)))
        assert step_problems(Recipe.load(name), empty) == []
    pruned = apply_step(made_models.bundle(model), Prune(structure="unstructured", fraction=0.5)).model
    assert zero_share(pruned) > 0.4
