"""A task of lm-evaluation-harness over any model that gives logits: its answers equal ours on the same files."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from compress.analysis.metrics import lm_eval_task
from compress.base.config import InputError
from compress.data import loading, locate
from compress.data.dataset import Dataset
from compress.data.tasks import task_of
from compress.data.workload import Workload
from compress.measure.evaluate import evaluate
from compress.measure.harness_model import check_requests, harness_evaluation, harness_model
from tests.helpers import ROOT, assets, tokenizer

pytest.importorskip("lm_eval")

CHOICES = """task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{query}}}}{prompt}"
doc_to_target: gold
doc_to_choice: "{{{{choices}}}}"
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_norm, aggregation: mean, higher_is_better: true}}
"""
CLOZE = """task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
output_type: loglikelihood
test_split: test
doc_to_text: "{{{{context}}}}"
doc_to_target: "{{{{' '+continuation}}}}"
target_delimiter: ""
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
"""
LIMIT = 24


def first_rows(name: str, folder: Path) -> Path:
    """A file of the first rows of a real data set."""
    lines = assets("data", "eval", f"{name}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    path = folder / f"{name}.jsonl"
    path.write_text("".join(lines[:LIMIT]), encoding="utf-8")
    return path


def task_file(folder: Path, name: str, text: str, file: Path, prompt: str = "") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text.format(name=name, file=file, prompt=prompt))
    return path


def ours(task: str, file: Path, model: Path, **settings: Any) -> tuple[Any, Any, Any, int]:
    """Our evaluation of a few rows, with model, tokenizer and max_length."""
    columns = {"text": "context"} if task == "cloze" else {"text": "query", "label": "gold"}
    data = Dataset(path=str(file), train=None, delimiter=settings.pop("delimiter", " "), **columns)
    longest = settings.pop("max_length", 512)
    workload = Workload(task=task, model=str(model), dataset=data, max_length=longest, **settings)
    source = locate.resolve(workload)
    loaded, processor = loading.load_model(source)
    examples = loading.load_examples(source, "test", processor, loaded.config, limit=LIMIT)
    found = evaluate(loaded, task_of(task), examples, processor, torch.device("cpu"), 8)
    return found, loaded, processor, longest


@pytest.mark.parametrize("metric", ["acc", "acc_norm"])
@pytest.mark.parametrize("name, prompt", [("arc_easy", "\nAnswer:"), ("piqa", ""), ("copa", "")])
def test_choices_equal_ours(name: str, prompt: str, metric: str, tmp_path: Path) -> None:
    file = first_rows(name, tmp_path)
    path = task_file(tmp_path, f"own_{name}", CHOICES, file, prompt.replace("\n", "\\n"))
    normalization = {"acc": "none", "acc_norm": "characters"}[metric]
    own, model, processor, longest = ours(
        "multiple-choice",
        file,
        assets("models", "stories260K"),
        normalization=normalization,
        delimiter=f"{prompt} ",
    )
    loaded = lm_eval_task.load(lm_eval_task.Asked(str(path), metric))
    lm = harness_model(model, processor, torch.device("cpu"), 8, longest)
    theirs = harness_evaluation(lm, loaded, 8, LIMIT)
    assert theirs.outcomes == own.outcomes
    assert theirs.finite
    assert loaded.protocol == f"lm_eval own_{name}, {metric}"


def test_clozes_equal_ours(tmp_path: Path) -> None:
    file = first_rows("lambada_openai", tmp_path)
    path = task_file(tmp_path, "own_lambada", CLOZE, file)
    own, model, processor, longest = ours("cloze", file, assets("models", "stories260K"))
    loaded = lm_eval_task.load(lm_eval_task.Asked(str(path)))
    lm = harness_model(model, processor, torch.device("cpu"), 8, longest)
    theirs = harness_evaluation(lm, loaded, 8, LIMIT)
    hits = [one == other for one, other in zip(own.outcomes["prediction"], own.outcomes["reference"], strict=True)]
    pairs = zip(theirs.outcomes["prediction"], theirs.outcomes["reference"], strict=True)
    assert [one == other for one, other in pairs] == hits


def test_a_task_of_the_harness_is_found_by_its_name() -> None:
    assert lm_eval_task.file_of(lm_eval_task.Asked("arc_easy")).name == "arc_easy.yaml"
    with pytest.raises(InputError, match="lm_eval:arc_esy: lm-evaluation-harness has no such task"):
        lm_eval_task.file_of(lm_eval_task.Asked("arc_esy"))


def test_examples_that_the_harness_would_score_wrongly_are_refused(tmp_path: Path) -> None:
    rows = '{"query": "a", "choices": ["b", "c"], "gold": null}\n{"query": "a", "choices": ["b", ""], "gold": 0}\n'
    (tmp_path / "rows.jsonl").write_text(rows)
    path = task_file(tmp_path, "broken", CHOICES, tmp_path / "rows.jsonl")
    with pytest.raises(InputError) as error:
        lm_eval_task.load(lm_eval_task.Asked(str(path)))
    assert "example 0: has no answer among its 2 choices" in str(error.value)
    assert "example 1: a choice is empty, or the only one" in str(error.value)


@pytest.mark.parametrize(
    ("text", "row", "problem"),
    [
        (CLOZE, {"context": "a", "continuation": None}, "example 1: cannot be read"),
        (
            CLOZE.replace("' '+continuation", "continuation"),
            {"context": "a", "continuation": None},
            "example 1: a null",
        ),
        (CLOZE, {"context": None, "continuation": "b"}, "example 1: a null is in its context"),
        (CHOICES, {"query": None, "choices": ["b", "c"], "gold": 1}, "example 1: a null is in its context"),
        (
            CHOICES,
            {"query": "a", "choices": ["b", None], "gold": 0},
            "example 1: a null is in its context, its choices",
        ),
        (CHOICES, {"query": "a", "choices": None, "gold": 0}, "example 1: cannot be read"),
    ],
)
def test_nulls_are_refused_where_the_harness_would_write_none(
    text: str, row: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    good = {"context": "a", "continuation": "b", "query": "a", "choices": ["b", "c"], "gold": 1, "unused": None}
    rows = [{name: value for name, value in good.items() if name in {*row, "unused"}}, row]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    path = task_file(tmp_path, "broken", text, tmp_path / "rows.jsonl")
    with pytest.raises(InputError) as error:
        lm_eval_task.load(lm_eval_task.Asked(str(path)))
    assert problem in str(error.value) and "example 0" not in str(error.value)


def test_requests_without_a_score_are_refused_before_a_model_is_made(tmp_path: Path) -> None:
    rows = [{"context": "a", "continuation": "b"}, {"context": "", "continuation": "b"}]
    rows += [{"context": "a", "continuation": "long " * 40}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    path = task_file(tmp_path, "long", CLOZE.replace("' '+", ""), tmp_path / "rows.jsonl")
    loaded = lm_eval_task.load(lm_eval_task.Asked(str(path)))
    processor = tokenizer()  # its first token opens an empty context
    with pytest.raises(InputError) as error:
        check_requests(loaded, processor, 32)
    assert "example 2: a continuation is longer than max_length 32" in str(error.value)
    assert "example 1" not in str(error.value)
    processor.backend_tokenizer.post_processor = None
    processor.pad_token = processor.cls_token = processor.sep_token = None
    with pytest.raises(
        InputError, match="lm_eval long: example 1: the context is empty, and the tokenizer has neither"
    ):
        check_requests(loaded, processor, 64)


def test_cut_contexts_are_counted_as_in_our_own_tasks_and_no_bar_is_drawn(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = first_rows("arc_easy", tmp_path)
    path = task_file(tmp_path, "own_arc_easy", CHOICES, file)
    own, model, processor, _ = ours("multiple-choice", file, assets("models", "stories260K"), max_length=64)
    loaded = lm_eval_task.load(lm_eval_task.Asked(str(path)))
    lm = harness_model(model, processor, torch.device("cpu"), 8, 64)
    capfd.readouterr()
    theirs = harness_evaluation(lm, loaded, 8, LIMIT)
    assert "it/s" not in capfd.readouterr().err
    counted = re.match(r"(\d+) of (\d+) contexts \(one for each choice\) were longer than max_length 64", own.remark)
    assert counted is not None and 0 < int(counted[1]) < int(counted[2])
    note = own.remark.replace("each choice", "each request of lm_eval")
    assert theirs.remark == check_requests(loaded, processor, 64) == note
    assert check_requests(loaded, processor, 512) == ""


def test_the_task_file_of_the_documentation_scores_local_data_as_our_workload_does(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "own-model.md").read_text(encoding="utf-8")
    written = page.split("cat > my_task.yaml <<'END'\n")[1].split("END\n")[0]
    file = first_rows("arc_easy", tmp_path)
    path = tmp_path / "my_task.yaml"
    path.write_text(written.replace("/data/arc_easy.jsonl", str(file)))
    loaded = lm_eval_task.load(lm_eval_task.Asked(str(path)))
    assert (loaded.protocol, len(loaded.docs)) == ("lm_eval my_task, acc_norm", LIMIT)
    own, model, processor, longest = ours(
        "multiple-choice", file, assets("models", "stories260K"), delimiter="\nAnswer: "
    )
    theirs = harness_evaluation(harness_model(model, processor, torch.device("cpu"), 8, longest), loaded, 8, LIMIT)
    assert theirs.outcomes == own.outcomes


def test_a_task_that_generates_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"query": "a", "answer": "b"}\n')
    text = CHOICES.replace("multiple_choice", "generate_until").replace("gold", "answer")
    text = text[: text.index("doc_to_choice")] + "metric_list:\n  - {{metric: exact_match}}\n"
    path = task_file(tmp_path, "writing", text, tmp_path / "rows.jsonl")
    with pytest.raises(InputError, match="is scored by generate_until with exact_match; expected multiple_choice with"):
        lm_eval_task.load(lm_eval_task.Asked(str(path)))


@pytest.mark.parametrize("kind", ["loglikelihood_rolling", "generate_until"])
def test_a_request_of_another_kind_is_one_clear_error(kind: str) -> None:
    model, processor = loading.load_model(
        locate.resolve(
            Workload(
                task="causal-lm",
                model=str(assets("models", "stories260K")),
                dataset=Dataset(path=str(assets("data", "tinystories")), train=None, test="cs336_sample.txt"),
            )
        )
    )
    lm = harness_model(model, processor, torch.device("cpu"), 8, 64)
    with pytest.raises(InputError, match=f"asks for {kind}; expected one that is scored by log-likelihoods"):
        getattr(lm, kind)([])
