"""Folders of models: what cannot be loaded is one sentence before any weight is; what can be gives its answers."""

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from compress.base.config import InputError
from compress.data import loading, locate
from compress.data.checkpoints import fit, settings, stored
from compress.data.workload import Workload
from compress.harness import preflight
from compress.spec.recipe import Recipe
from tests.helpers import bert, tokenizer, write_workload

Spoil = Callable[[Path], Any]
WEIGHTS, POINTER = "model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"
NORM = "bert.encoder.layer.0.output.LayerNorm.weight"
DISTANCES = "bert.encoder.layer.0.attention.self.distance_embedding.weight"
QUERY = "bert.encoder.layer.0.attention.self.query.weight"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workload whose model has random weights."""
    return write_workload(tmp_path_factory.mktemp("whole"), model=bert())


@pytest.fixture
def model(whole: Path, tmp_path: Path) -> Path:
    """The model's folder in a copy of that workload."""
    shutil.copytree(whole.parent, tmp_path / "w")
    return tmp_path / "w" / "model"


@pytest.fixture(autouse=True)
def no_weights(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Loading a model's weights fails, unless a test asks for them."""

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("weights were loaded")

    if "loaded" not in request.node.name:
        monkeypatch.setattr("compress.data.loading.load_model", refused)


def check(model: Path, recipe: Recipe | None = None) -> None:
    """Everything that is looked at before a step runs."""
    found = locate.resolve(Workload.load(model.parent / "my.yaml"))
    preflight.check([recipe or Recipe()], found)


def config(**changes: Any) -> Spoil:
    """Changes fields of config.json; ... removes one."""

    def spoil(model: Path) -> None:
        file = model / "config.json"
        fields = {**json.loads(file.read_text()), **changes}
        file.write_text(json.dumps({name: value for name, value in fields.items() if value is not ...}))

    return spoil


def text(name: str, content: str) -> Spoil:
    """Replaces a file by this text."""
    return lambda model: (model / name).write_text(content)


def tensors(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor] | None]) -> Spoil:
    """Changes the stored tensors, in place or by what it returns."""

    def spoil(model: Path) -> None:
        held = load_file(model / WEIGHTS)
        save_file(change(held) or held, model / WEIGHTS, metadata={"format": "pt"})

    return spoil


def rename_tensors(new: Callable[[str], str]) -> Spoil:
    """Gives the stored tensors other names."""
    return tensors(lambda held: {new(name): tensor for name, tensor in held.items()})


def cut(model: Path, name: str = WEIGHTS) -> None:
    raw = (model / name).read_bytes()
    (model / name).write_bytes(raw[: len(raw) // 2])


def shard(model: Path, kept: int = 2) -> None:
    """Puts the weights into two files and an index, of which `kept` files stay."""
    held = load_file(model / WEIGHTS)
    names, placed = sorted(held), {}
    for part in (0, 1):
        file = f"model-0000{part + 1}-of-00002.safetensors"
        placed |= dict.fromkeys(names[part::2], file)
        if part < kept:
            save_file({name: held[name] for name in names[part::2]}, model / file, metadata={"format": "pt"})
    (model / WEIGHTS).unlink()
    (model / f"{WEIGHTS}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": placed}))


def twice(model: Path) -> None:
    """Puts a tensor of the first file into the second one too, with other values."""
    first, second = (model / f"model-0000{part}-of-00002.safetensors" for part in (1, 2))
    held = load_file(second)
    name, tensor = sorted(load_file(first).items())[0]
    save_file({**held, name: tensor + 9}, second, metadata={"format": "pt"})


def move_into(*folders: str) -> Spoil:
    """Puts the model into folders inside its own."""

    def spoil(model: Path) -> None:
        files = [file for file in model.iterdir() if file.is_file()]
        for folder in folders:
            (model / folder).mkdir()
            for file in files:
                shutil.copy(file, model / folder)
        for file in files:
            file.unlink()

    return spoil


def adapter(model: Path) -> None:
    (model / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": "base"}))
    save_file({"x.lora_A.weight": torch.zeros(4, 32)}, model / "adapter_model.safetensors")


def only_adapter(model: Path) -> None:
    adapter(model)
    (model / "config.json").unlink()
    (model / WEIGHTS).unlink()


def only(name: str) -> Spoil:
    """Weights of another library instead of the model's."""
    return lambda model: (model / WEIGHTS).rename(model / name)


def link_weights(model: Path) -> None:
    (model / WEIGHTS).unlink()
    (model / WEIGHTS).symlink_to(model / "gone")


def unknown_tokenizer(model: Path) -> None:
    (model / "tokenizer.json").unlink()
    (model / "tokenizer_config.json").write_text('{"tokenizer_class": "QuantumTokenizer"}')


def padded_beyond(model: Path) -> None:
    tokens = tokenizer()
    tokens.add_tokens([f"new{index}" for index in range(60)])
    tokens.add_special_tokens({"pad_token": "[NEW]"})
    tokens.save_pretrained(model)


def fifo(name: str) -> Spoil:
    """Replaces a file by a fifo, which blocks whoever opens it."""

    def spoil(model: Path) -> None:
        (model / name).unlink(missing_ok=True)
        os.mkfifo(model / name)

    return spoil


def endless(model: Path) -> None:
    (model / "config.json").unlink()
    (model / "config.json").symlink_to("/dev/zero")


def header(change: Callable[[dict[str, Any]], Any]) -> Spoil:
    """Changes the header of the weights, in place."""

    def spoil(model: Path) -> None:
        raw = (model / WEIGHTS).read_bytes()
        length = struct.unpack("<Q", raw[:8])[0]
        content = json.loads(raw[8 : 8 + length])
        change(content)
        new = json.dumps(content).encode()
        (model / WEIGHTS).write_bytes(struct.pack("<Q", len(new)) + new + raw[8 + length :])

    return spoil


def index(content: Any) -> Spoil:
    """Puts this index in place of the weights."""

    def spoil(model: Path) -> None:
        (model / WEIGHTS).rename(model / "a.safetensors")
        (model / f"{WEIGHTS}.index.json").write_text(json.dumps(content))

    return spoil


def tokens(**changes: Any) -> Spoil:
    """Changes fields of tokenizer_config.json."""

    def spoil(model: Path) -> None:
        file = model / "tokenizer_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return spoil


READ_WHOLE = (
    "config.json", WEIGHTS, f"{WEIGHTS}.index.json", "generation_config.json", "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "preprocessor_config.json",
    "chat_template.jinja", "adapter_config.json", "adapter_model.safetensors", "code.py",
)  # fmt: skip
REFUSED: dict[str, tuple[Spoil, str]] = {
    "width as text": (config(hidden_size="12"), "hidden_size: '12', a str; expected a whole number"),
    "negative labels": (config(num_labels=-1), "num_labels: -1; expected a whole number from 1 to 100000"),
    "no vocabulary": (config(vocab_size=0), "vocab_size: 0; expected at least 1"),
    "ten million layers": (config(num_hidden_layers=10**7), "num_hidden_layers: 10000000; expected at most 1000"),
    "a billion labels": (config(id2label=..., num_labels=10**9), "num_labels: 1000000000"),
    "vocabulary of 10^12": (config(vocab_size=10**12), "vocab_size: 1000000000000; expected at most 2147483647"),
    "width of 10^9": (config(hidden_size=10**9), "is [32] in the weights and [1000000000] in config.json"),
    "heads that do not divide": (config(num_attention_heads=5), "not a multiple of the number of attention heads"),
    "null heads": (config(num_attention_heads=None), "num_attention_heads"),
    "names as a list": (config(id2label=["a", "b"]), "id2label: a list; expected a mapping"),
    "names with a hole": (config(id2label={"0": "a", "5": "b"}), "expected 0 to 1, and 1 is missing"),
    "unknown architecture": (config(model_type="quantumbert"), "quantumbert"),
    "no architecture": (config(model_type=...), "model_type: missing"),
    "classes as text": (config(architectures="Bert"), "architectures: 'Bert'; expected a list"),
    "unknown activation": (config(hidden_act="zelu"), "zelu"),
    "padding beyond": (config(pad_token_id=999), "Padding_idx must be within num_embeddings"),
    "NaN": (config(layer_norm_eps=float("nan")), "config.json layer_norm_eps: nan; expected a finite number"),
    "infinity": (config(layer_norm_eps=float("inf")), "config.json layer_norm_eps: inf; expected a finite number"),
    "beyond a double": (config(layer_norm_eps=10**400), "config.json layer_norm_eps: 1000"),
    "NaN of transformers": (config(layer_norm_eps={"__float__": "NaN"}), "config.json layer_norm_eps.__float__: nan"),
    "NaN below": (config(rope_parameters={"x": [1.0, float("nan")]}), "config.json rope_parameters.x.1: nan"),
    "a format of nothing": (config(quantization_config={}), "quantization_config: {}; expected a mapping"),
    "a format as text": (config(quantization_config="int4"), "quantization_config: 'int4'; expected a mapping"),
    "epsilon as text": (config(layer_norm_eps="x"), "layer_norm_eps"),
    "unknown dtype": (config(dtype="bogus"), "bogus"),
    "a pointer as a shard": (lambda m: (shard(m), text("model-00002-of-00002.safetensors", POINTER)(m)), "git lfs"),
    "a pointer as index": (lambda m: (shard(m), text(f"{WEIGHTS}.index.json", POINTER)(m)), "git lfs pull"),
    "a pickle's pointer alone": (
        lambda m: (text("pytorch_model.bin", POINTER)(m), (m / WEIGHTS).unlink()),
        "git lfs pull",
    ),
    "a vocabulary to nowhere": (lambda m: (m / "vocab.txt").symlink_to("gone"), "vocab.txt is a link to gone"),
    "empty config.json": (text("config.json", ""), "config.json is empty"),
    "list in config.json": (text("config.json", "[1]"), "config.json: a list; expected a mapping"),
    "more layers than weights": (config(num_hidden_layers=4), "has no weights for bert.encoder.layer.2"),
    "fewer layers than weights": (config(num_hidden_layers=1), "a layer beyond config.json's count"),
    "another width": (config(intermediate_size=128), "is [64] in the weights and [128] in config.json"),
    "one other shape": (tensors(lambda held: held.update({QUERY: torch.zeros(16, 32)})), "[16, 32] in the weights"),
    "integers": (tensors(lambda held: held.update({QUERY: held[QUERY].to(torch.int8)})), "as I8"),
    "no head": (tensors(lambda held: {n: t for n, t in held.items() if "classifier" not in n}), "classifier.bias"),
    "cut off": (cut, "is truncated or damaged"),
    "empty weights": (text(WEIGHTS, ""), "model.safetensors is empty"),
    "a web page": (text(WEIGHTS, "<!DOCTYPE html>" * 20), "not a safetensors file"),
    "a pointer": (text(WEIGHTS, POINTER), "git lfs pull"),
    "a tokenizer's pointer": (text("tokenizer.json", POINTER), "git lfs pull"),
    "a pointer as data": (text("../data/test.parquet", POINTER), "test.parquet is a git-LFS pointer"),
    "a link to nowhere": (link_weights, "which does not exist"),
    "a missing file": (lambda model: shard(model, kept=1), "has 1 of 2 weight files"),
    "other names": (rename_tensors(lambda name: f"model.{name}"), "it holds model.bert"),
    "adapter inside": (
        rename_tensors(lambda n: n.replace("query.", "query.base_layer.")),
        "an adapter that is not merged",
    ),
    "adapter alone": (only_adapter, "is an adapter of base"),
    "adapter beside": (adapter, "holds a model and an adapter (adapter_config.json, adapter_model.safetensors)"),
    "Trainer's folder": (move_into("checkpoint-500", "checkpoint-1000"), "such as the last: "),
    "several models": (move_into("a", "b"), "several models (a, b)"),
    "one below": (move_into("inner"), "contains one below; use"),
    "TensorFlow": (only("tf_model.h5"), "TensorFlow"),
    "Flax": (only("flax_model.msgpack"), "Flax"),
    "GGUF": (only("model.gguf"), "GGUF"),
    "unknown tokenizer": (unknown_tokenizer, "transformers has no QuantumTokenizer"),
    "broken tokenizer": (text("tokenizer.json", '{"model": {'), "tokenizer or image processor cannot be loaded"),
    "list as tokenizer": (text("tokenizer_config.json", "[]"), "tokenizer_config.json: a list; expected a mapping"),
    "padding token beyond": (padded_beyond, "its tokenizer pads with token 88"),
    **{f"a fifo as {name}": (fifo(name), f"{name} is a fifo; expected a regular file") for name in READ_WHOLE},
    "a fifo as template": (
        lambda m: ((m / "additional_chat_templates").mkdir(), fifo("additional_chat_templates/x.jinja")(m)),
        "x.jinja is a fifo",
    ),
    "/dev/zero": (endless, "config.json is a device; expected a regular file"),
    "17 MiB of config.json": (text("config.json", "{}" + " " * 17 * 2**20), "bytes; expected at most 16 MiB"),
    "a mark": (
        lambda m: (m / "config.json").write_bytes(b"\xef\xbb\xbf" + (m / "config.json").read_bytes()),
        "begins with a byte order mark (BOM); save it as UTF-8 without one",
    ),
    "no layers": (config(num_hidden_layers=0), "a layer beyond config.json's count"),
    "100,001 labels": (
        config(id2label={str(i): "x" for i in range(10**5 + 1)}, label2id=...),
        "id2label: 100001 names; expected at most 100000",
    ),
    "negative epsilon": (config(layer_norm_eps=-5.0), "layer_norm_eps: -5.0; expected a number above 0"),
    "zero epsilon": (config(layer_norm_eps=0), "layer_norm_eps: 0; expected a number above 0"),
    "dtype as a number": (config(dtype=5), "dtype: 5; expected a floating-point type"),
    "dtype as a mapping": (config(dtype={"": "float32"}), "dtype: {'': 'float32'}; expected a floating-point type"),
    "dtype of modules": (config(dtype="nn.Module"), "dtype: 'nn.Module'; expected a floating-point type"),
    "code as a number": (config(auto_map=5), "auto_map: 5; expected a mapping of Auto classes"),
    "activation": (config(hidden_act="foo"), "hidden_act: 'foo'; expected an activation such as gelu"),
    "a shape beyond 2^63": (
        header(lambda h: h.update(z={"dtype": "F32", "shape": [2**63, 0], "data_offsets": [0, 0]})),
        "is damaged: z has the shape [9223372036854775808, 0]",
    ),
    "a shape of texts": (header(lambda h: h["classifier.bias"].update(shape=["2"])), "has no readable header"),
    "offsets of fractions": (
        header(lambda h: h["classifier.bias"].update(data_offsets=[0.0, 8.0])),
        "has no readable header",
    ),
    "a list as metadata": (header(lambda h: h.update(__metadata__=[1])), "has no readable header"),
    "no metadata of an index": (index({"weight_map": {QUERY: "a.safetensors"}}), "KeyError: 'metadata'"),
    "metadata as a number": (
        index({"metadata": 5, "weight_map": {QUERY: "a.safetensors"}}),
        "metadata is not a mapping",
    ),
    **{
        f"the file {name[:9]!r}": (
            index({"metadata": {}, "weight_map": {QUERY: name}}),
            "expected files in the same folder",
        )
        for name in ("", ".", "..", "../a", "a\0", "a" * 5000)
    },
    "one tensor in two files": (
        lambda m: (shard(m), twice(m)),
        "bert.embeddings.LayerNorm.bias is in model-00001-of-00002.safetensors and in model-00002-of-00002.safetensors",
    ),
    "an old and a new name": (
        tensors(lambda held: held.update({NORM.replace("weight", "gamma"): held[NORM] * 0})),
        "which are one parameter; expected one of them",
    ),
    "a wrapped and a plain name": (
        tensors(lambda held: held.update({f"module.{QUERY}": held[QUERY] * 0})),
        "which are one parameter; expected one of them",
    ),
    **{
        f"an adapter: {name}": (
            tensors(lambda held, name=name: held.update({f"bert.encoder.layer.0.{name}": torch.ones(32, 1)})),
            "an adapter that is not merged",
        )
        for name in (
            "attention.self.query.ia3_l.default",
            "attention.output.adapters.sst.adapter_down.0.weight",
            "attention.self.query.lora_A.weight",
            "attention.self.key.vera_lambda_b.default",
        )
    },
    "distances that are not computed": (
        tensors(lambda held: held.update({DISTANCES: torch.ones(127, 16)})),
        "which BertForSequenceClassification with this config.json does not compute",
    ),
    "a rotation by 0": (config(rope_theta=0), "rope_theta: 0; expected a number above 0"),
    "a rotation by 0 below": (
        config(rope_parameters={"full_attention": {"rope_theta": -1.0}}),
        "rope_parameters.full_attention.rope_theta: -1.0; expected a number above 0",
    ),
    "padding by another input": (tokens(model_input_names=["zz"]), "model_input_names: ['zz']; expected a list that"),
    "padding by nothing": (tokens(model_input_names=[]), "model_input_names: []; expected a list that"),
}


@pytest.mark.parametrize(("spoil", "words"), REFUSED.values(), ids=REFUSED)
def test_a_folder_that_cannot_be_loaded_is_refused_before_weights_are(spoil: Spoil, words: str, model: Path) -> None:
    spoil(model)
    with pytest.raises(InputError) as refused:
        check(model)
    assert words in str(refused.value)
    assert all(problem.startswith("my ") for problem in refused.value.problems)
    told = [problem.split(": ", 1)[-1] for problem in refused.value.problems]
    assert len(set(told)) == len(told)


TAKEN: dict[str, Spoil] = {
    "compiled": rename_tensors(lambda name: f"_orig_mod.{name}"),
    "compiled inside": rename_tensors(lambda name: name.replace("bert.", "bert._orig_mod.")),
    "distributed": rename_tensors(lambda name: f"module.{name}"),
    "distributed and compiled": rename_tensors(lambda name: f"module._orig_mod.{name}"),
    "old names of norms": rename_tensors(
        lambda n: n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    ),
    "several files": shard,
    "no class named": config(architectures=...),
    "a checkpoint inside": lambda model: shutil.copytree(model, model / "checkpoint-5"),
    "optimizer beside": text("optimizer.pt", "x"),
    "pointers beside": lambda model: [
        text(name, POINTER)(model)
        for name in ("pytorch_model.bin", "model.onnx", "tf_model.h5", "model_fp16.safetensors", "model.gguf")
    ],
    "a document to nowhere": lambda model: (model / "README.md").symlink_to("gone"),
    "integers beside": lambda model: save_file(
        {"classifier.weight": torch.ones(2, 32, dtype=torch.int8)}, model / "model_quantized.safetensors"
    ),
    "values not finite beside": lambda model: save_file(
        {QUERY: torch.full((32, 32), float("nan"))}, model / "x.safetensors"
    ),
    "a limit without an end": config(time_step_limit=[0.0, float("inf")]),
}


@pytest.mark.parametrize("spoil", TAKEN.values(), ids=TAKEN)
def test_a_folder_that_can_be_loaded_gives_the_answers_of_the_plain_one(
    spoil: Spoil, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(model)
    check(model)
    said = capsys.readouterr().err
    assert ("wrapper's prefix" in said) == ("_orig_mod" in said or "module." in said)


@pytest.mark.parametrize("spoil", list(TAKEN.values())[:4], ids=list(TAKEN)[:4])
def test_loaded_weights_of_a_wrapped_model_are_those_of_the_inner_one(spoil: Spoil, model: Path, whole: Path) -> None:
    spoil(model)
    plain, loaded = (
        loading.load_model(locate.resolve(Workload.load(folder / "my.yaml")))[0].state_dict()
        for folder in (whole.parent, model.parent)
    )
    assert plain.keys() == loaded.keys()
    assert all(torch.equal(plain[name], loaded[name]) for name in plain)


def test_problems_of_model_data_and_steps_are_told_together(model: Path) -> None:
    file = model.parent / "my.yaml"
    file.write_text(
        file.read_text().replace("max_length: 32", "max_length: 65").replace("label: label", "label: klass")
    )
    recipe = Recipe.model_validate(
        {"steps": [{"method": "distill", "layers": [0, 99]}, {"method": "lowrank", "rank": 99}]}
    )
    with pytest.raises(InputError) as refused:
        check(model, recipe)
    told = str(refused.value)
    assert "99; expected numbers from 0 to 1" in told and "rank 99 saves nothing" in told and "klass" in told


def test_a_model_of_too_many_modules_is_given_up_while_it_is_built() -> None:
    from transformers import FunnelConfig

    from compress.data.empty import empty_model

    config = FunnelConfig(d_model=8, n_head=1, d_head=8, d_inner=8, block_sizes=[10**6])
    with pytest.raises(InputError, match="over 1400 modules"):
        empty_model(config, "text-classification", tensors=40)


def test_a_configuration_of_too_many_values_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "MOST_VALUES", 100)
    assert "config.json holds over 100 values; expected fewer" in settings.problems({"x": [0] * 101})


ANSWERS = {"return_dict": False, "torchscript": True, "chunk_size_feed_forward": 3, "output_hidden_states": True}


def test_loaded_models_answer_in_one_form_whatever_config_json_asks_for(model: Path) -> None:
    inputs = {"input_ids": torch.ones(2, 8, dtype=torch.int64)}
    found = locate.resolve(Workload.load(model.parent / "my.yaml"))
    expected = loading.load_model(found)[0](**inputs).logits
    config(**ANSWERS)(model)
    answer = loading.load_model(found)[0](**inputs)
    assert torch.equal(answer.logits, expected) and answer.hidden_states is None


SMALL = {"vocab_size": 8, "hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 1}


def weights_of(model: Any, folder: Path) -> Any:
    """Save a model and return what the headers of its weights hold."""
    model.save_pretrained(folder)
    saved, _ = stored(folder)
    assert saved is not None
    return saved


def test_layers_that_predict_further_tokens_are_left_out(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    saved = weights_of(LlamaForCausalLM(LlamaConfig(num_hidden_layers=2, **SMALL)), tmp_path)
    with torch.device("meta"):
        shorter = LlamaForCausalLM(LlamaConfig(num_hidden_layers=1, **SMALL))
    problems, _ = fit.problems(shorter, saved, "causal-lm")
    assert "model.layers.1." in problems[0] and "beyond config.json's count" in problems[0]
    shorter.config.num_nextn_predict_layers = 1
    problems, unused = fit.problems(shorter, saved, "causal-lm")
    assert not problems and len(unused) == 9


def test_bodies_without_a_prefix_are_compared_with_the_number_of_layers(tmp_path: Path) -> None:
    from transformers import BertConfig, BertForSequenceClassification, BertModel

    saved = weights_of(BertModel(BertConfig(num_hidden_layers=2, **SMALL)), tmp_path)
    with torch.device("meta"):
        empty = BertForSequenceClassification(BertConfig(num_hidden_layers=0, **SMALL))
    problems, _ = fit.problems(empty, saved, "text-classification")
    assert any("encoder.layer.0" in problem and "beyond config.json's count" in problem for problem in problems)
