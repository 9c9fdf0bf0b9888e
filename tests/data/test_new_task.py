"""A task is one file: this one declares a reading time, which nothing else knows, and one line of `TASKS` names it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
import transformers
from huggingface_hub import ModelCard

from compress import run
from compress.base.config import InputError
from compress.base.files import write_atomic
from compress.cli import completion
from compress.cli.questions import task_of_folder
from compress.data import tasks, template
from compress.data.dataset import Dataset
from compress.data.tasks import TASKS, task_of, text_classification, texts
from compress.data.tasks.columns import LABEL, TEXT
from compress.data.tasks.task import Batch, Task
from compress.data.tasks.view import WorkloadView
from compress.data.workload import Workload
from compress.harness import engine
from compress.harness import run as harness
from compress.harness.transform import task_of_model
from compress.measure import session
from compress.records.trace_shape import OUTCOMES
from compress.report import write_card
from compress.spec.recipe import Recipe
from tests.forked import one_thread
from tests.helpers import SHORT, sentences, tokenizer

NAME = "reading-time"


class BertForReadingTime(transformers.BertForSequenceClassification):
    """BERT whose head has one output."""


def check(model: Any, processor: Any, examples: datasets.Dataset, workload: WorkloadView) -> list[str]:
    outputs = int(model.config.num_labels)
    wide = [f"has {outputs} outputs; a regression has 1"] if outputs != 1 else []
    return [*wide, *texts.text_problems(model, processor, examples, workload)]


def prepare(raw: datasets.Dataset, processor: Any, workload: WorkloadView, config: Any) -> datasets.Dataset:
    rows = texts.text_column(raw, workload.dataset.text, "text")
    ids = processor(rows, truncation=True, max_length=workload.max_length)["input_ids"]
    numbers = [float(number) for number in raw[workload.dataset.label]]
    return datasets.Dataset.from_dict({"text": rows, "labels": numbers, "input_ids": ids})


def collate(examples: Sequence[Mapping[str, Any]], processor: Any) -> dict[str, torch.Tensor]:
    batch = dict(processor.pad([{"input_ids": example["input_ids"]} for example in examples], return_tensors="pt"))
    return batch | {"labels": torch.tensor([example["labels"] for example in examples])}


def outcomes(logits: torch.Tensor, batch: Batch) -> dict[str, list[float]]:
    return {"prediction": logits[:, 0].double().tolist(), "reference": batch["labels"].double().tolist()}


def losses(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return (logits[:, 0].double() - labels.double()).square(), torch.ones(len(labels), dtype=torch.float64)


TASK = Task(
    name=NAME,
    auto_model="AutoModelForSequenceClassification",
    auto_processor="AutoTokenizer",
    architectures=("ForReadingTime", "ForSequenceClassification"),
    pipeline_tag="text-classification",
    columns=(TEXT, LABEL),
    metric=str(Path(__file__).with_name("mean_error.py")),
    sample_outcomes={"prediction": [0.5, 1.0], "reference": [0.25, 1.0]},
    headline=text_classification.TASK.headline,
    first_recipe="bert_int8",
    call="model(**batch)",
    load_processor=texts.load_processor,
    check=check,
    prepare=prepare,
    collate=collate,
    fixed=text_classification.fixed,
    outcomes=outcomes,
    losses=losses,
    lengths=texts.lengths,
    made_up=texts.made_up,
)


@pytest.fixture(autouse=True)
def register_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one line; sessions are measured in this process, since a new one would not have it."""
    monkeypatch.setitem(TASKS, NAME, __name__)
    monkeypatch.setattr(engine, "run_child", lambda command, _device: session.main(command[3:]))
    monkeypatch.setattr(harness, "threads", one_thread)


def write_random_workload(folder: Path, outputs: int = 1) -> Path:
    """A workload file, as `init` writes it, for a random model and made sentences."""
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=64, num_labels=outputs,
    )  # fmt: skip
    transformers.BertForSequenceClassification(config).save_pretrained(folder / "model")
    tokenizer().save_pretrained(folder / "model")
    (folder / "data").mkdir()
    for split, seed in (("train", 1), ("test", 2)):
        datasets.Dataset.from_dict(sentences(40, seed)).to_parquet(folder / "data" / f"{split}.parquet")
    path = folder / "numbers.yaml"
    write_atomic(path, template.init(str(folder / "model"), str(folder / "data"), NAME).encode())
    return path


def test_a_new_task_is_compressed_measured_and_published(tmp_path: Path) -> None:
    path = write_random_workload(tmp_path)
    loaded = Workload.load(path)
    assert (loaded.metric_name, loaded.headline_point.sequence_length) == (TASK.metric, 64)
    where = {"out": tmp_path / "results", "artifacts": tmp_path / "artifacts", "device": "cpu"}
    recipe = Recipe.load("bert_bf16", [(f"measure.{name}", value) for name, value in SHORT.items()])
    result = run(recipe, workload=str(path), keep=True, **where)
    assert result.error is None and result.accuracy is not None and result.artifact is not None
    assert (result.accuracy.metric, result.accuracy.higher_is_better) == ("mean_error", False)
    assert result.accuracy.known and result.workload["task"] == NAME
    data = ModelCard.load(write_card(result, Path(result.artifact))).data
    assert (data.pipeline_tag, data.eval_results[0].metric_type) == ("text-classification", "mean_error")


def test_its_own_checks_speak_before_anything_is_trained(tmp_path: Path) -> None:
    path = write_random_workload(tmp_path, outputs=3)
    with pytest.raises(InputError, match="has 3 outputs; a regression has 1"):
        run("bert_int8", workload=str(path), out=tmp_path / "results", artifacts=tmp_path / "artifacts", device="cpu")
    padded = Recipe.load("bert_int8").model_copy(update={"padding": "fixed"})
    with pytest.raises(
        InputError, match=f"is of {NAME}, .* only text-classification, text-regression.* can be padded to a fixed"
    ):
        run(padded, workload=str(path), out=tmp_path / "results", artifacts=tmp_path / "artifacts", device="cpu")
    path.write_text(path.read_text() + "points: [{batch_size: 1, context: 8, generate: 4}]\n")
    models = r"language models \(causal-lm, multiple-choice, cloze\)"
    with pytest.raises(InputError, match=f"phase decode: only {models} have phases"):
        Workload.load(path)


def test_every_list_of_tasks_names_it(tmp_path: Path) -> None:
    assert completion.tasks("reading-t") == [NAME]
    assert tasks.unknown("reading-tme") == f"unknown task; expected one of {', '.join(TASKS)}; did you mean {NAME}?"
    model = BertForReadingTime(transformers.BertConfig(hidden_size=4, num_hidden_layers=0, num_attention_heads=1))
    assert task_of_model(model) == NAME
    model.save_pretrained(tmp_path)
    assert task_of_folder(str(tmp_path)) == NAME


def test_every_task_is_declared_under_its_name_with_columns_and_outcomes_that_others_read() -> None:
    for name in TASKS:
        task = task_of(name)
        assert task.name == name
        assert any(kind <= set(task.sample_outcomes) for kind in OUTCOMES)
        assert {column.field for column in task.columns} <= set(Dataset.model_fields)
