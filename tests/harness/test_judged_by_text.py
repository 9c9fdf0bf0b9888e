"""Language models judged by choices, clozes, tasks of the harness and greedy text: from a workload file to a result."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML

from compress import run
from compress.analysis.verify import verify
from compress.base.config import InputError
from compress.base.devices import computes_bf16
from compress.harness import engine
from compress.harness import run as harness
from compress.measure import session
from compress.report.describe import describe
from compress.spec.recipe import Recipe
from tests.forked import one_thread
from tests.helpers import SHORT, sentences, tokenizer
from tests.made_models import llama

ROWS = [
    {"query": text, "context": text, "choices": ["good", "very bad", "warm"], "continuation": "good", "gold": n % 3}
    for n, text in enumerate(sentences(30, 2)["text"])
]
FIELDS = {"multiple-choice": {"text": "query", "label": "gold"}, "cloze": {"text": "context"}}


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions are measured in this process, which spares them a start."""
    monkeypatch.setattr(engine, "run_child", lambda command, _device: session.main(command[3:]))
    monkeypatch.setattr(harness, "threads", one_thread)


def write_workload(folder: Path, task: str, rows: list[dict[str, Any]] = ROWS, **changes: Any) -> Path:
    llama().save_pretrained(folder / "model")
    tokenizer().save_pretrained(folder / "model")
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plain = {
        "task": task,
        "model": "model",
        "dataset": {"path": "rows.jsonl", "train": None, **FIELDS.get(task, {})},
        "max_length": 48,
        "headline": {"batch_size": 2, "sequence_length": 16},
        **changes,
    }
    path = folder / "own.yaml"
    with path.open("w") as stream:
        YAML().dump(plain, stream)
    return path


def result(folder: Path, path: Path) -> Any:
    changes = [(f"measure.{name}", value) for name, value in SHORT.items()]
    changes += [("steps.0.structure", "unstructured"), ("steps.0.importance", "magnitude"), ("runtime", "eager")]
    recipe = Recipe.load("prune_half", changes)
    return run(recipe, workload=str(path), device="cpu", out=folder / "results", artifacts=folder / "artifacts")


@pytest.mark.parametrize("task, variant", [
    ("multiple-choice", "log-likelihood per character"),
    ("cloze", "greedy decoding gives the continuation"),
])  # fmt: skip
def test_answers_and_greedy_text_are_in_the_result(task: str, variant: str, tmp_path: Path) -> None:
    found = result(tmp_path, write_workload(tmp_path, task))
    assert found.error is None and found.accuracy is not None and found.generation is not None
    assert (found.accuracy.metric, found.accuracy.variant) == ("accuracy", variant)
    assert found.accuracy.estimate.n == 30
    assert found.accuracy.flip_rate is not None and found.accuracy.mcnemar_p is not None
    assert (found.generation.prompts, found.generation.new_tokens) == (16, 32)
    native = computes_bf16(torch.device("cpu"))
    slower = any(note.startswith("bf16 eager costs more than fp32 eager") for note in found.notes)
    assert found.generation.reference == ("bf16 eager" if native and not slower else "fp32 eager")
    assert found.generation.changed is not None and found.generation.changed.value > 0.5
    (file,) = (tmp_path / "results" / "own").glob("prune_half-*.json")
    assert verify(file).differences == ()
    shown = "\n".join(describe(found))
    assert f"accuracy ({variant}):" in shown
    assert "% of 16 continuations of 32 tokens changed" in shown


def test_rows_without_an_answer_end_the_run_before_anything_is_compressed(tmp_path: Path) -> None:
    bad = [{**ROWS[0], "gold": None}, {**ROWS[0], "choices": ["", "a"]}]
    path = write_workload(tmp_path, "multiple-choice", [*ROWS, *bad])
    with pytest.raises(InputError) as error:
        result(tmp_path, path)
    assert "rows.jsonl line 31: it has no answer" in str(error.value)
    assert "rows.jsonl line 32: a choice is empty" in str(error.value)
    assert not (tmp_path / "artifacts").exists() or not list((tmp_path / "artifacts").rglob("*.safetensors"))


def test_a_task_of_the_harness_judges_a_workload_of_other_text(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    path = write_workload(tmp_path, "cloze", metric="lm_eval:tasks/own.yaml")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "own.yaml").write_text(f"""task: own
dataset_path: json
dataset_kwargs: {{data_files: {{test: {tmp_path / "rows.jsonl"}}}}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{query}}}}"
doc_to_target: gold
doc_to_choice: "{{{{choices}}}}"
metric_list: [{{metric: acc_norm, aggregation: mean, higher_is_better: true}}]
""")
    found = result(tmp_path, path)
    assert found.error is None and found.accuracy is not None
    assert (found.accuracy.metric, found.accuracy.variant) == ("accuracy", "lm_eval own, acc_norm")
    assert found.accuracy.estimate.n == 30
    assert found.accuracy.mcnemar_p is not None
