"""Workloads are found, checked and described before anything heavy is loaded; what is wrong is said in one error."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest
from huggingface_hub import constants

from compress.base.config import InputError
from compress.base.device import CPU
from compress.base.yaml import parse_yaml
from compress.data import hub, loading, locate, tables, template
from compress.data import split_files as files
from compress.data.dataset import Dataset
from compress.data.workload import Workload, names
from compress.harness import fingerprints
from compress.records.machine import describe
from tests.helpers import ROOT, assets, bert, sentences, tokenizer, write_workload

Make = Callable[..., Workload]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workload")
    write_workload(folder, bert())
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "own"))


def workload(folder: Path, **dataset: Any) -> Workload:
    return Workload(
        name="own",
        task="text-classification",
        model=str(folder / "model"),
        dataset=Dataset(**{"path": str(folder / "data"), **dataset}),
        max_length=32,
    )


def examples(own: Workload, split: Any = "test", limit: int | None = None) -> datasets.Dataset:
    return loading.load_examples(locate.resolve(own), split, tokenizer(), bert().config, limit)


def write_split(folder: Path, name: str, columns: dict[str, list[Any]]) -> None:
    datasets.Dataset.from_dict(columns).to_parquet(folder / "data" / name)


def test_every_shipped_workload_is_valid_and_documented() -> None:
    offline = {"stdlib-bert", "stdlib-ner", "stdlib-search", "digits-vit", "stdlib-llama"}
    assert offline | {"sst2-bert", "sst2-distilbert", "wikitext2-gpt2"} <= set(names())
    for name in names():
        loaded = Workload.load(name)
        assert loaded.name == name
        assert (ROOT / "recipes" / "workloads" / f"{name}.yaml").read_text().startswith(f"# {name}: ")


def test_resolving_folders_imports_no_torch(folder: Path) -> None:
    code = (
        "import sys; from compress.data import loading, locate; from compress.data.workload import Workload\n"
        f"locate.resolve(Workload.load({str(folder / 'my.yaml')!r}))\n"
        "print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_workload_judges_some_examples_of_a_large_test_split_and_trains_on_all(folder: Path) -> None:
    own, some = workload(folder), workload(folder, test_examples=7)
    every = list(examples(own)["input_ids"])
    assert len(every) > 20
    assert list(examples(some)["input_ids"]) == [every[index * len(every) // 7] for index in range(7)]
    assert len(examples(some, limit=3)) == 3 and len(examples(some, limit=10)) == 7
    assert len(examples(some, "train")) == len(examples(own, "train"))
    inputs = [fingerprints.transform_inputs(locate.resolve(each), describe(CPU)) for each in (own, some)]
    assert inputs[0] == inputs[1]  # the same models, judged otherwise
    assert locate.resolve(some).digest != locate.resolve(own).digest
    with pytest.raises(InputError, match="test_examples: 1"):
        workload(folder, test_examples=1)


def test_the_digest_changes_with_model_data_and_settings_and_with_nothing_else(folder: Path) -> None:
    own = workload(folder)
    before = locate.resolve(own).digest
    assert locate.resolve(own.model_copy(update={"name": "renamed"})).digest == before
    moved = Path(shutil.copytree(folder, folder.parent / "moved"))
    assert locate.resolve(workload(moved)).digest == before
    assert locate.resolve(own.model_copy(update={"max_length": 16})).digest != before
    write_split(folder, "test.parquet", sentences(60, seed=9))
    changed = locate.resolve(own).digest
    assert changed != before
    config = folder / "model" / "config.json"
    config.write_text(config.read_text().replace('"layer_norm_eps": 1e-12', '"layer_norm_eps": 1e-11'))
    assert locate.resolve(own).digest not in (before, changed)


def test_weights_stored_in_half_precision_arrive_in_float32(folder: Path) -> None:
    import torch

    bert().half().save_pretrained(folder / "model")
    model, _ = loading.load_model(locate.resolve(workload(folder)))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    half, _ = loading.load_model(locate.resolve(workload(folder)), dtype=torch.bfloat16)
    assert next(half.parameters()).dtype == torch.bfloat16


def test_a_limit_takes_examples_from_all_over_the_split(folder: Path) -> None:
    write_split(folder, "test.parquet", {"text": [f"the film {i}" for i in range(10)], "label": [0] * 5 + [1] * 5})
    assert examples(workload(folder), limit=4)["labels"] == [0, 0, 1, 1]
    assert len(examples(workload(folder), limit=99)) == 10


@pytest.mark.parametrize("kind", ["parquet", "csv", "tsv", "jsonl"])
def test_the_same_rows_are_read_from_every_kind_of_file(folder: Path, kind: str) -> None:
    rows = sentences(8, seed=4)
    table = datasets.Dataset.from_dict(rows)
    path = folder / "data" / f"dev.{kind}"
    {
        "parquet": lambda: table.to_parquet(path),
        "csv": lambda: table.to_csv(path),
        "tsv": lambda: table.to_csv(path, sep="\t"),
        "jsonl": lambda: table.to_json(path),
    }[kind]()
    for name in ("dev", path.name):
        read = examples(workload(folder, test=name))
        assert (read["text"], read["labels"]) == (rows["text"], rows["label"])


def test_hub_style_shards_below_data_are_one_split(folder: Path) -> None:
    (folder / "data" / "data").mkdir()
    for index in range(2):
        write_split(folder, f"data/dev-0000{index}-of-00002.parquet", sentences(5, seed=index))
    assert examples(workload(folder, test="dev"))["text"] == sentences(5, 0)["text"] + sentences(5, 1)["text"]


def test_labels_may_be_the_models_own_names(folder: Path) -> None:
    write_split(folder, "test.parquet", {"text": ["a film", "the plot"], "label": ["label_1", "LABEL_0"]})
    assert examples(workload(folder))["labels"] == [1, 0]


def test_names_decide_where_data_and_model_number_them_differently(folder: Path) -> None:
    from compress.data.tasks import labels

    features = datasets.Features({"label": datasets.ClassLabel(names=["label_1", "label_0"])})
    raw = datasets.Dataset.from_dict({"label": [0, 0, 1]}, features=features)
    assert labels.read(raw, "label", bert().config).ids == [1, 1, 0]


ROWS = {"text": ["a film", "the plot"], "label": [0, 1]}


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"text": ["a film"]}, "no label column 'label'; the data has text"),
        ({"label": [1]}, "no text column 'text'; the data has label"),
        ({**ROWS, "label": ["fine", "awful"]}, "'fine' is neither a number nor a label of the model"),
        ({**ROWS, "label": ["fine", "awful"]}, "name the classes in the model's config.json (id2label and label2id)"),
        ({**ROWS, "label": [0.5, 1.0]}, "0.5 is neither a number"),
        ({**ROWS, "label": [None, 1]}, "null is neither a number"),
        ({**ROWS, "label": [0, 2]}, "label 2, but the model has 2 labels"),
        ({**ROWS, "label": [0, -1]}, "hidden labels"),
        ({**ROWS, "text": ["a film", None]}, "row 1 is null"),
        ({**ROWS, "text": [1, 2]}, "row 0 is 1, a int"),
        ({"text": [], "label": []}, "is empty"),
    ],
    ids=[
        "no label",
        "no text",
        "names",
        "names, and what to do",
        "fraction",
        "null label",
        "too high",
        "hidden",
        "null text",
        "numbers",
        "empty",
    ],
)
def test_unusable_rows_are_refused_with_their_column(folder: Path, columns: dict[str, list[Any]], said: str) -> None:
    write_split(folder, "test.parquet", columns)
    with pytest.raises(InputError) as caught:
        examples(workload(folder))
    assert said in str(caught.value)
    assert "own" in str(caught.value)


def test_model_and_data_that_are_both_missing_are_one_error(folder: Path) -> None:
    own = workload(folder, path=str(folder / "nowhere")).model_copy(update={"model": str(folder / "nothing")})
    with pytest.raises(InputError) as caught:
        locate.resolve(own)
    assert len(caught.value.problems) == 2
    assert all("no such folder or file" in problem for problem in caught.value.problems)


def test_a_missing_split_says_what_there_is(folder: Path) -> None:
    with pytest.raises(InputError, match=r"no test split 'dev'; the folder holds test.parquet, train.parquet"):
        locate.resolve(workload(folder, test="dev"))
    with pytest.raises(InputError, match="no train split 'training'"):
        examples(workload(folder, train="training"), "train")
    with pytest.raises(InputError, match="names no train split"):
        examples(workload(folder, train=None), "train")


def test_a_single_file_is_judged_on_and_never_trained_on(folder: Path) -> None:
    own = workload(folder, path=str(folder / "data" / "test.parquet"))
    assert len(examples(own)) == 60
    with pytest.raises(InputError, match="which is never trained on"):
        examples(own, "train")
    with pytest.raises(InputError, match=r"names no train split.* put train and test files into a folder"):
        examples(workload(folder, path=str(folder / "data" / "test.parquet"), train=None), "train")


def test_a_file_of_another_kind_is_refused(folder: Path) -> None:
    path = folder / "data.xlsx"
    path.write_bytes(b"PK")
    with pytest.raises(InputError, match=r"files of kind .xlsx are not supported; expected .parquet"):
        locate.resolve(workload(folder, path=str(path)))


@pytest.mark.parametrize(("name", "content"), [("bad.parquet", b"no"), ("bad.jsonl", b"{]"), ("bad.csv", b"")])
def test_a_damaged_file_is_one_error(folder: Path, name: str, content: bytes) -> None:
    (folder / "data" / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        examples(workload(folder, test=name))


def test_a_causal_model_is_no_classifier(folder: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    shutil.rmtree(folder / "model")
    LlamaForCausalLM(LlamaConfig(vocab_size=64, **sizes)).save_pretrained(folder / "model")
    with pytest.raises(InputError, match="is a LlamaForCausalLM; text-classification needs"):
        locate.resolve(workload(folder))


def test_a_head_that_would_be_random_is_refused(folder: Path) -> None:
    bert().bert.save_pretrained(folder / "model")
    config = folder / "model" / "config.json"
    config.write_text(config.read_text().replace('"BertModel"', '"BertForSequenceClassification"'))
    with pytest.raises(InputError, match=r"no weights for classifier.bias, classifier.weight"):
        loading.load_model(locate.resolve(workload(folder)))


@pytest.mark.parametrize(
    ("remove", "said"), [("config.json", "has no config.json"), ("model.safetensors", "has no weights")]
)
def test_a_folder_that_is_no_model_is_refused(folder: Path, remove: str, said: str) -> None:
    (folder / "model" / remove).unlink()
    with pytest.raises(InputError, match=said):
        locate.resolve(workload(folder))


def test_a_truncated_weights_file_is_one_error(folder: Path) -> None:
    weights = folder / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"model\.safetensors is truncated or damaged"):
        loading.load_model(locate.resolve(workload(folder)))


def test_a_model_without_its_tokenizer_is_refused(folder: Path) -> None:
    for file in (folder / "model").glob("tokenizer*"):
        file.unlink()
    with pytest.raises(InputError, match="tokenizer or image processor cannot be loaded"):
        loading.load_processor(locate.resolve(workload(folder)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda model, tokens, own: (model, _without_padding(tokens), own), "no padding token"),
        (lambda model, tokens, own: (model, tokens, own.model_copy(update={"max_length": 65})), "at most 64 tokens"),
        (lambda model, tokens, own: (_fewer_embeddings(model), tokens, own), "8 token embeddings"),
    ],
    ids=["padding", "length", "vocabulary"],
)
def test_a_model_that_does_not_fit_its_examples_is_refused(folder: Path, change: Any, said: str) -> None:
    model, tokens, own = change(bert(), tokenizer(), workload(folder))
    with pytest.raises(InputError, match=said):
        loading.check(locate.resolve(own), model, tokens, examples(workload(folder)))


def _without_padding(tokens: Any) -> Any:
    tokens.pad_token = None
    return tokens


def _fewer_embeddings(model: Any) -> Any:
    model.resize_token_embeddings(8)
    return model


def resolving_fails(tmp_path: Path, **environment: str) -> tuple[str, str]:
    """The problem (one line) and standard error of a process that asks for a hub workload without an answer."""
    code = (
        "from compress.base.config import InputError\n"
        "from compress.data import loading, locate; from compress.data.workload import Workload\n"
        "try: locate.resolve(Workload.load('sst2-distilbert'))\n"
        "except InputError as error: print(*error.problems, sep='\\n')"
    )
    given = {"HF_HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **environment}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=given, capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    return line, done.stderr


def test_a_hub_that_cannot_be_reached_is_one_sentence_with_the_ways_out(tmp_path: Path) -> None:
    line, _ = resolving_fails(tmp_path, HF_HUB_OFFLINE="1")
    assert line.startswith("model distilbert/distilbert-base-uncased-finetuned-sst-2-english at 714eb0f")
    assert all(words in line for words in (" and dataset ", "could not be reached", "stdlib-bert", "HF_HOME")), line


def test_a_mistyped_folder_is_named_with_its_field_and_where_it_was_sought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "reachable", lambda: False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "w.yaml").write_text("task: text-classification\nmodel: my-modle\ndataset: {path: my-dta}\n")
    with pytest.raises(InputError) as refused:
        locate.resolve(Workload.load(tmp_path / "w.yaml"))
    (problem,) = refused.value.problems
    assert problem.startswith("model my-modle (field model of workload w) and dataset my-dta (field dataset.path of ")
    assert f"no such folder relative to the workload file or to {Path.cwd()}, and the Hugging Face hub" in problem


def test_a_model_that_is_half_in_the_cache_says_so_and_what_to_do(folder: Path) -> None:
    found = locate.resolve(Workload.load(folder / "my.yaml"))
    half = replace(found, model="owner/half", resolved={**found.resolved, "model_revision": "0" * 40})
    for load in (loading.load_processor, loading.load_model):
        with pytest.raises(InputError, match="the cache lacks files of the model; use an offline workload"):
            load(half)


def test_without_a_network_the_hub_is_asked_once_and_not_for_long(tmp_path: Path) -> None:
    start = time.monotonic()
    _, told = resolving_fails(tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert time.monotonic() - start < 30
    assert told.count("cannot be reached") == 1, told


def test_init_finds_columns_and_splits_and_its_file_loads(folder: Path) -> None:
    text = template.init(str(folder / "model"), str(folder / "data"), "text-classification")
    (folder / "new.yaml").write_text(text)
    own = Workload.load(folder / "new.yaml")
    assert (own.dataset.train, own.dataset.test, own.dataset.text, own.dataset.label) == (
        "train",
        "test",
        "text",
        "label",
    )
    assert own.max_length == 64  # what the model has positions for
    assert len(examples(own)) == 60


def test_init_judges_on_validation_where_the_test_split_may_hide_its_labels(folder: Path) -> None:
    write_split(folder, "validation.parquet", {"sentence1": ["a"], "sentence2": ["b"], "label": [0]})
    plain, _ = parse_yaml(template.init("m", str(folder / "data"), "text-classification"), "new")
    assert plain["dataset"]["test"] == "validation"
    assert (plain["dataset"]["text"], plain["dataset"]["text_pair"]) == ("sentence1", "sentence2")


@pytest.mark.parametrize("path", ['it\'s "odd"', "a: b", "- x", "#1", "null", "with space", "{a}"])
def test_init_writes_yaml_whatever_the_paths_hold(path: str, tmp_path: Path) -> None:
    odd = tmp_path / path
    odd.mkdir()
    (odd / "test.txt").write_text("a text")
    plain, _ = parse_yaml(template.init(str(odd), str(odd), "causal-lm"), "new")
    assert (plain["model"], plain["dataset"]["path"]) == (str(odd), str(odd))


def test_init_refuses_a_mistyped_folder_and_says_what_it_takes_for_an_id(folder: Path) -> None:
    with pytest.raises(InputError, match=r"--model .*modle: no such folder or file, and no hub id"):
        template.init(str(folder / "modle"), str(folder / "data"), "text-classification")
    text = template.init("owner/name", str(folder / "data"), "image-classification")
    assert "model: owner/name  # no such folder: treated as a hub id" in text
    assert "compress run vit_int8" in text


def test_init_remarks_that_a_folder_holds_no_model(folder: Path) -> None:
    model_line = "no config.json: expected a folder of a saved transformers model"
    assert model_line in template.init(str(folder / "data"), str(folder / "data"), "text-classification")
    assert model_line not in template.init(str(folder / "model"), str(folder / "data"), "text-classification")


def test_init_refuses_data_without_anything_to_judge_on(folder: Path) -> None:
    (folder / "data" / "test.parquet").unlink()
    with pytest.raises(InputError, match="no test split"):
        template.init("m", str(folder / "data"), "text-classification")
    with pytest.raises(InputError, match="unknown task"):
        template.init("m", str(folder / "data"), "depth-estimation")


def test_split_names_never_match_longer_ones(tmp_path: Path) -> None:
    (tmp_path / "test-unlabelled.csv").write_text("text\na\n")
    assert files.split_files(tmp_path, "test") is None


def test_the_real_minilm_is_found_in_its_three_half_precision_shards() -> None:
    data, model = assets("data", "sst2"), assets("models", "minilm-l6-sst2")
    own = Workload(
        name="sst2",
        task="text-classification",
        model=str(model),
        dataset=Dataset(path=str(data), test="validation", text="sentence"),
    )
    found = locate.resolve(own)
    loaded, processor = loading.load_model(found)
    test = loading.load_examples(found, "test", processor, loaded.config)
    loading.check(found, loaded, processor, test)
    assert (len(test), str(loaded.dtype)) == (872, "torch.float32")


def test_of_a_hub_repository_only_the_named_files_are_read(folder: Path) -> None:
    found = locate.resolve(workload(folder))
    spec = found.workload.dataset.model_copy(update={"test": "test*.parquet", "train": "train.parquet"})
    repository = replace(
        found,
        workload=found.workload.model_copy(update={"dataset": spec}),
        resolved={**found.resolved, "dataset_revision": "0" * 40},  # a folder stands in for the repository
    )
    assert len(tables.load(repository, "test")) == 60
    assert len(tables.load(repository, "train")) == len(tables.load(found, "train"))
