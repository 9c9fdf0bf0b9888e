"""Likelihood as a score: windows of a text, choices after a question, and the end of a passage."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from compress.analysis.accuracy import flips, summarise
from compress.base.config import InputError
from compress.data import loading, locate
from compress.data.dataset import Dataset
from compress.data.tasks import task_of
from compress.data.workload import Workload
from compress.measure.evaluate import evaluate
from tests.data.test_tasks import bytes_tokenizer, llama
from tests.helpers import assets


def workload(task: str, model: Path, data: Path, **settings: Any) -> Workload:
    columns = {"text": "context"} if task == "cloze" else {"text": "query", "label": "gold"}
    own = {} if task == "causal-lm" else columns
    dataset = Dataset(path=str(data), train=None, delimiter=settings.pop("delimiter", " "), **own)
    return Workload(task=task, model=str(model), dataset=dataset, **{"max_length": 48, **settings})


def evaluated(own: Workload, limit: int | None = None) -> Any:
    """Evaluation on a test split, with the model and tokenizer."""
    source = locate.resolve(own)
    model, processor = loading.load_model(source)
    examples = loading.load_examples(source, "test", processor, model.config, limit)
    loading.check(source, model, processor, examples)
    found = evaluate(model, task_of(own.task), examples, processor, torch.device("cpu"), 4)
    return found, model, processor


@pytest.fixture(scope="module", params=[True, False], ids=["first token", "no first token"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tokens = bytes_tokenizer(begin=request.param)
    llama(len(tokens)).save_pretrained(folder)
    tokens.save_pretrained(folder)
    return folder


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# windows


def perplexity_by_hand(text: str, length: int, stride: int | None) -> tuple[float, float]:
    """Perplexity and bits per byte of stories260K: every token's loss once, in the earliest window that holds it."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = assets("models", "stories260K")
    model, tokens = AutoModelForCausalLM.from_pretrained(folder).float(), AutoTokenizer.from_pretrained(folder)
    lost = count = size = 0.0
    for story in filter(None, map(str.strip, text.split("<|endoftext|>"))):
        ids = tokens(story, add_special_tokens=False)["input_ids"]
        scored = 0
        for start in range(0, len(ids), stride or length - 1):
            row = torch.tensor([[tokens.bos_token_id, *ids[start : start + length - 1]]])
            with torch.no_grad():
                chances = model(row).logits[0, :-1].log_softmax(-1)
            losses = -chances.gather(1, row[0, 1:, None])[scored - start if scored > start else 0 :, 0]
            lost, count, scored = lost + losses.sum().item(), count + len(losses), start + row.shape[1] - 1
            if scored >= len(ids):
                break
        size += len(story.encode())
    return math.exp(lost / count), lost / math.log(2) / size


@pytest.mark.parametrize(
    "length, stride, known",
    [(512, None, 3.548202), (128, None, 4.749), (128, 64, 3.739)],
    ids=["whole stories", "blocks", "strided"],
)
def test_perplexity_equals_one_computed_by_hand(length: int, stride: int | None, known: float) -> None:
    text = assets("data", "tinystories", "cs336_sample.txt")
    windows = {} if stride is None else {"windows": "strided", "stride": stride}
    own = workload("causal-lm", assets("models", "stories260K"), text, max_length=length, **windows)
    found, _, _ = evaluated(own)
    summary = summarise(found, "perplexity", None, None, 0, protocol=own.protocol)
    expected, bits = perplexity_by_hand(text.read_text(), length, stride)
    assert summary.estimate.value == pytest.approx(expected, rel=1e-6)
    assert summary.estimate.value == pytest.approx(known, abs=5e-4)
    assert summary.bits_per_byte == pytest.approx(bits, rel=1e-6)
    assert sum(found.outcomes["tokens"]) == 1804
    named = f"blocks of {length} tokens" if stride is None else f"windows of {length} tokens, stride {stride}"
    assert summary.variant == named


@pytest.mark.parametrize("stride", [1, 3, 7, 15])
def test_every_token_and_byte_is_scored_once_whatever_the_stride(stride: int, model: Path, tmp_path: Path) -> None:
    text = "a naïve café on the hill, and nothing else to see"
    (tmp_path / "test.txt").write_text(text, encoding="utf-8")
    own = workload("causal-lm", model, tmp_path / "test.txt", max_length=16, windows="strided", stride=stride)
    found, _, processor = evaluated(own)
    begins = processor("a")["input_ids"][0] == 0
    predicted = len(text.encode()) - (0 if begins else 1)
    assert sum(found.outcomes["tokens"]) == sum(found.outcomes["bytes"]) == predicted


def test_training_and_calibration_use_blocks() -> None:
    own = Workload(task="causal-lm", model="m", dataset=Dataset(path="d"), windows="strided", stride=64)
    assert (own.of_training.windows, own.of_training.stride) == ("blocks", None)


@pytest.mark.parametrize(
    "settings, problem",
    [
        ({"windows": "strided"}, "windows strided: has no stride; set it, such as to 64"),
        ({"stride": 64}, "stride 64: blocks lie side by side"),
        ({"windows": "strided", "stride": 128}, "stride 128: max_length 128 is no longer"),
        ({"normalization": "tokens"}, "normalization tokens: causal-lm has no such setting; only multiple-choice"),
        ({"metric": "lm_eval:"}, "expected lm_eval:TASK or lm_eval:TASK:METRIC"),
        ({"metric": "lm_eval:arc_easy:f1"}, "with one of acc, acc_bytes, acc_norm"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Workload(task="causal-lm", model="m", dataset=Dataset(path="d"), **settings)


def test_classifiers_have_no_tasks_of_the_harness() -> None:
    with pytest.raises(ValueError, match="metric lm_eval:arc_easy: only language models"):
        Workload(task="text-classification", model="m", dataset=Dataset(path="d"), metric="lm_eval:arc_easy")


# multiple choice and cloze

QUESTIONS = [
    {"query": "The sky is", "choices": ["blue", "a stone of some weight"], "gold": 0},
    {"query": "Fire is", "choices": ["cold", "hot", "wet in winter"], "gold": 1},
    {"query": "", "choices": ["Yes", "No, and never again"], "gold": 1},
]
PASSAGES = [{"context": "The sky is", "continuation": "blue"}, {"context": "Fire is  ", "continuation": "hot"}]


def likelihood(model: Any, processor: Any, context: str, continuation: str) -> tuple[float, bool, int]:
    """Log-likelihood of a continuation by hand, whether greedy decoding gives it, and its number of tokens (bytes)."""
    first = [0]  # the first token, which also stands for an empty context
    begins = processor("a")["input_ids"][0] == 0
    before = [*(first if begins or not context else []), *processor(context, add_special_tokens=False)["input_ids"]]
    scored = processor(continuation, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        chances = model(torch.tensor([[*before, *scored]])).logits[0].log_softmax(-1)[len(before) - 1 : -1]
    greedy = chances.argmax(-1).tolist() == scored
    return chances.gather(1, torch.tensor(scored)[:, None]).sum().item(), greedy, len(scored)


@pytest.mark.parametrize("normalization", ["characters", "tokens", "none"])
def test_the_choice_of_the_highest_likelihood_answers(normalization: str, model: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "test.jsonl", QUESTIONS)
    own = workload("multiple-choice", model, data, normalization=normalization)
    found, loaded, processor = evaluated(own)
    expected = []
    for row in QUESTIONS:
        scores = []
        for choice in row["choices"]:
            sum_, _, tokens = likelihood(loaded, processor, row["query"], f" {choice}")
            scores.append(sum_ / {"characters": len(choice), "tokens": tokens, "none": 1}[normalization])
        expected.append(float(scores.index(max(scores))))
    assert found.outcomes == {"prediction": expected, "reference": [0.0, 1.0, 1.0]}
    assert own.protocol.startswith("log-likelihood")


def test_a_cloze_is_right_if_greedy_decoding_gives_it(model: Path, tmp_path: Path) -> None:
    found, loaded, processor = evaluated(workload("cloze", model, write(tmp_path / "test.jsonl", PASSAGES)))
    for number, (context, continuation) in enumerate([("The sky is", " blue"), ("Fire is", "   hot")]):
        sum_, greedy, tokens = likelihood(loaded, processor, context, continuation)
        assert found.outcomes["nll"][number] == pytest.approx(-sum_, rel=1e-4)
        assert found.outcomes["tokens"][number] == tokens
        assert found.outcomes["prediction"][number] == (number if greedy else -1)
    assert found.outcomes["reference"] == [0.0, 1.0]


def test_answers_are_paired_example_by_example(model: Path, tmp_path: Path) -> None:
    found, _, _ = evaluated(workload("multiple-choice", model, write(tmp_path / "test.jsonl", QUESTIONS * 4)))
    other = [1 - value if number < 3 else value for number, value in enumerate(found.outcomes["prediction"])]
    changed = type(found)({**found.outcomes, "prediction": other}, True, 4)
    assert flips(changed, found) == 3 / 12
    summary = summarise(changed, "accuracy", found, "fp32 eager", 0)
    assert summary.mcnemar_p is not None and summary.delta is not None
    assert summary.chance == 8 / 12  # the most frequent number of a right choice


def test_labels_of_choices_name_the_answer(model: Path, tmp_path: Path) -> None:
    choices = {"text": ["blue", "green"], "label": ["A", "B"]}
    rows = [{"query": "The sky is", "choices": choices, "gold": "B"}]
    found, _, _ = evaluated(workload("multiple-choice", model, write(tmp_path / "test.jsonl", rows)))
    assert found.outcomes["reference"] == [1.0]


def test_a_delimiter_may_begin_a_new_line(model: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "test.jsonl", QUESTIONS[:2])
    text = f"""task: multiple-choice
model: {model}
dataset: {{path: {data}, train: null, text: query, label: gold, delimiter: "\\nAnswer: "}}
max_length: 48
"""
    (tmp_path / "own.yaml").write_text(text)
    own = Workload.load(tmp_path / "own.yaml")
    source = locate.resolve(own)
    _, processor = loading.load_model(source)
    examples = loading.load_examples(source, "test", processor, None)
    assert examples["text"][0] == "The sky is\nAnswer: blue"
    (tmp_path / "own.yaml").write_text(text.replace("label: gold", 'label: "go\\nld"'))
    with pytest.raises(InputError, match=r"dataset\.label: .* has control characters; expected one line of text"):
        Workload.load(tmp_path / "own.yaml")


def test_long_contexts_lose_their_beginning_and_a_note_counts_them(model: Path, tmp_path: Path) -> None:
    long = "x" * 80 + "The sky is"
    rows = [{"context": long, "continuation": "blue"}, {"context": "It is", "continuation": "so"}]
    own = workload("cloze", model, write(tmp_path / "test.jsonl", rows))
    found, loaded, processor = evaluated(own)
    begins = processor("a")["input_ids"][0] == 0
    kept = long[-(48 - len(" blue") - (1 if begins else 0)) :]
    assert found.outcomes["nll"][0] == pytest.approx(-likelihood(loaded, processor, kept, " blue")[0], rel=1e-4)
    assert found.remark == "1 of 2 contexts were longer than max_length 48: only their ends are read"
    asked = {"query": long, "choices": ["blue", "made of stone"], "gold": 0}
    data = write(tmp_path / "asked.jsonl", [asked, QUESTIONS[0]])
    found, _, _ = evaluated(workload("multiple-choice", model, data))
    assert found.remark.startswith("2 of 4 contexts (one for each choice) were longer than max_length 48")


def labelled(*labels: Any) -> dict[str, Any]:
    """Two choices with labels."""
    return {"choices": {"text": ["blue", "made of stone"], "label": list(labels)}}


@pytest.mark.parametrize("gold", [1, "1"])
@pytest.mark.parametrize(("labels", "right"), [(("1", "2"), 0), ((1, 2), 0), (("0", "1"), 1)])
def test_labels_name_choices_as_numbers_or_text(
    gold: Any, labels: tuple[Any, Any], right: int, model: Path, tmp_path: Path
) -> None:
    data = write(tmp_path / "test.jsonl", [{"query": "The sky is", "gold": gold, **labelled(*labels)}] * 2)
    found, _, _ = evaluated(workload("multiple-choice", model, data))
    assert found.outcomes["reference"] == [right, right]


@pytest.mark.parametrize(
    "task, row, problem",
    [
        ("multiple-choice", {"gold": None}, "it has no answer"),
        ("multiple-choice", {"gold": -1}, "it has no answer"),
        ("multiple-choice", {"gold": 2}, "the answer 2 names none of its 2 choices; expected 0 to 1"),
        ("multiple-choice", {"choices": ["blue", " "]}, "a choice is empty"),
        ("multiple-choice", {"choices": ["blue"]}, "the choices are not a list of two and more texts"),
        ("multiple-choice", {"choices": ["blue", "x" * 60]}, "a continuation is longer than max_length 48 tokens"),
        ("multiple-choice", labelled("A", "A"), "its labels 'A', 'A' do not name its 2 choices one by one"),
        ("multiple-choice", labelled("A"), "its labels 'A' do not name its 2 choices one by one"),
        ("multiple-choice", {**labelled("1", "2"), "gold": "0"}, "the answer '0' is none of the labels '1', '2'"),
        ("cloze", {"continuation": ""}, "the continuation is empty"),
        ("cloze", {"continuation": None}, "it has no answer"),
        ("cloze", {"context": None}, "the context is None; expected text"),
    ],
)
def test_rows_without_a_score_are_refused_with_their_lines(
    task: str, row: dict[str, Any], problem: str, model: Path, tmp_path: Path
) -> None:
    good = PASSAGES[0] if task == "cloze" else QUESTIONS[0]
    if isinstance(row.get("choices"), dict):  # one column has one kind of values
        good = {**good, **labelled("A", "B"), "gold": "A"}
    data = write(tmp_path / "test.jsonl", [good, good, {**good, **row}, good])
    data.write_text("\n" + data.read_text())  # line 1 is empty
    own = workload(task, model, data)
    with pytest.raises(InputError) as error:
        evaluated(own)
    assert f"test.jsonl line 4: {problem}" in str(error.value)
    with pytest.raises(InputError, match=r"test\.jsonl line 4: "):
        evaluated(own, limit=2)  # of four rows, the first and the third


def test_an_empty_context_without_any_token_to_open_it_is_refused(tmp_path: Path) -> None:
    tokens = bytes_tokenizer(begin=False)
    llama(len(tokens)).save_pretrained(tmp_path / "model")
    tokens.bos_token = None
    tokens.save_pretrained(tmp_path / "model")
    data = write(tmp_path / "test.jsonl", [PASSAGES[0], {"context": "", "continuation": "blue"}])
    own = workload("cloze", tmp_path / "model", data)
    with pytest.raises(InputError, match="line 2: the context is empty, and the tokenizer has neither"):
        evaluated(own)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tmp_path: Path) -> None:
    llama(40).save_pretrained(tmp_path / "model")
    bytes_tokenizer(begin=True).save_pretrained(tmp_path / "model")
    own = workload("multiple-choice", tmp_path / "model", write(tmp_path / "test.jsonl", QUESTIONS))
    with pytest.raises(InputError, match="has 40 token embeddings, but its tokenizer gave token"):
        evaluated(own)


def test_a_max_length_beyond_the_positions_is_refused(model: Path, tmp_path: Path) -> None:
    own = workload("cloze", model, write(tmp_path / "test.jsonl", PASSAGES), max_length=65)
    with pytest.raises(InputError, match="reads at most 64 tokens, but max_length is 65; set max_length to 64"):
        evaluated(own)
