"""`init` on data that people have: files without a header, plain text; and points that fit a language model."""

import json
from pathlib import Path

import pytest
import transformers

from compress.base.config import InputError
from compress.data import headerless, locate, tables, template
from compress.data.tasks import task_of
from compress.data.workload import Workload
from tests.data.test_tasks import bytes_tokenizer, llama

COLUMNS = task_of("text-classification").columns
TEXTS = ("a fine film about trains", "poor, and far too long", "the plot is thin, the cast is not", "quite fine")


def written(text: str, tmp_path: Path) -> Workload:
    (tmp_path / "made.yaml").write_text(text)
    return Workload.load(tmp_path / "made.yaml")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([["1", "a fine film"], ["0", "a poor one"], ["1", "fine"]], ["label", "text"]),
        ([["a fine film", "pos"], ["a poor one", "neg"], ["fine too", "pos"]], ["text", "label"]),
        (
            [["7", "pos", "a fine film"], ["8", "neg", "a poor one"], ["9", "pos", "fine"]],
            ["column_0", "label", "text"],
        ),
        (
            [["a man eats a meal", "a man eats", "yes"], ["a cat sits on the mat", "a dog sits there", "no"]] * 2,
            ["text", "text_pair", "label"],
        ),
        ([["score", "phrase"], ["1", "a fine film"], ["0", "a poor one"]], None),
        ([["rating", "words"], ["good", "a fine film"], ["bad", "a poor one"]], None),
        ([["label", "text"], ["label", "a fine film"], ["other", "text"]], None),  # usual names are a header
        ([["1", "a fine film"]], None),
        ([["1"], ["0"], ["1"]], None),  # too few columns
        ([["0", "1"], ["0", "a fine film"], ["1", "a poor one"]], None),  # the names that pandas gives
        ([["", "0", "1"], ["0", "0", "a fine film"], ["1", "1", "a poor one"]], None),
        (  # CoLA: a source, the label, a remark that is often empty
            [["gj04", "1", "", "The cat sat."], ["gj04", "0", "*", "Cat the sat."], ["gj04", "1", "", "It ran away."]],
            ["column_0", "label", "column_2", "text"],
        ),
        ([["en", "a fine film"], ["en", "a poor one"]], None),  # a constant is no label
    ],
)
def test_columns_without_a_header_are_named_by_their_values(rows: list[list[str]], expected: list[str] | None) -> None:
    assert headerless.names(rows, COLUMNS) == expected


@pytest.mark.parametrize("name", ["test.csv", "test.tsv"])
def test_init_names_the_columns_of_a_file_without_a_header_and_loses_no_row(name: str, tmp_path: Path) -> None:
    separator = "," if name.endswith("csv") else "\t"
    lines = [separator.join((str(i % 2), f'"{text}"' if "," in text else text)) for i, text in enumerate(TEXTS)]
    data = tmp_path / "data"
    data.mkdir()
    for split in ("train", "test"):
        (data / name.replace("test", split)).write_text("\n".join([*lines, f"0{separator}{split}"]) + "\n")
    text = template.init("owner/name", str(data), "text-classification")
    assert "  csv: {columns: [label, text]}  # the files have no header" in text
    own = written(text, tmp_path)
    assert (own.dataset.text, own.dataset.label) == ("text", "label")
    raw = tables.read_files([data / name], own.dataset)
    assert raw["text"] == [*TEXTS, "test"] and raw["label"] == ["0", "1", "0", "1", "0"]


def test_splits_of_which_one_has_a_header_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("grade,words\n1,a fine film\n0,a poor one\n")
    (tmp_path / "test.csv").write_text("1,a fine film\n0,a poor one\n1,fine\n")
    with pytest.raises(InputError, match="the train split has a header, the test split seems to have none"):
        template.init("o/n", str(tmp_path), "text-classification")


def test_a_column_name_with_a_line_end_keeps_the_yaml_valid(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text('"x\ry",z\n1,a\n0,b\n')
    own = written(template.init("o/n", str(tmp_path), "text-classification"), tmp_path)
    assert own.dataset.text == "text"


def test_a_file_without_columns_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("\n\n")
    with pytest.raises(InputError, match="no columns"):
        template.init("o/n", str(tmp_path), "text-classification")


def test_two_equal_values_in_the_first_row_are_no_names(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("1,1,a fine film\n0,1,a poor one\n1,0,fine again\n")
    assert "csv: {columns: [label, column_1, text]}" in template.init("o/n", str(tmp_path), "text-classification")


def test_a_plain_text_is_the_test_split_of_a_language_model(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("Once upon a time there was a text.\n\nIt had two paragraphs.\n")
    own = written(template.init("owner/name", str(tmp_path / "corpus.txt"), "causal-lm"), tmp_path)
    assert (own.dataset.train, own.dataset.test, own.dataset.text) == (None, "test", "text")
    headline = own.headline
    assert headline is not None and own.points == ()
    assert (headline.phase, headline.batch_size, headline.sequence_length, headline.new_tokens) == ("decode", 1, 64, 32)


@pytest.mark.parametrize(("positions", "point"), [(2048, (64, 32)), (24, (16, 8)), (96, (64, 32)), (5, None)])
def test_the_headline_that_generates_fits_the_models_positions(
    positions: int, point: tuple[int, int] | None, tmp_path: Path
) -> None:
    config = transformers.GPT2Config(n_positions=positions, n_embd=8, n_layer=1, n_head=1, vocab_size=30)
    config.architectures = ["GPT2LMHeadModel"]
    config.save_pretrained(tmp_path / "model")
    (tmp_path / "test.txt").write_text("a text")
    text = template.init(str(tmp_path / "model"), str(tmp_path / "test.txt"), "causal-lm")
    headline = written(text, tmp_path).headline
    assert (headline and (headline.sequence_length, headline.new_tokens)) == point
    stated = "" if point is None else f"{{phase: decode, batch_size: 1, context: {point[0]}, new_tokens: {point[1]}}}"
    assert (f"\nheadline: {stated}\n" in text) == (point is not None)


def test_only_language_models_have_a_headline_that_generates(workload: Path) -> None:
    model, data = workload.parent / "model", workload.parent / "data"
    assert "headline" not in template.init(str(model), str(data), "text-classification")
    assert locate.resolve(Workload.load(workload)).workload.task == "text-classification"


@pytest.mark.parametrize(
    ("letters", "expected", "hint"),
    [(20, 128, ""), (150, 160, ""), (240, 256, ""), (300, 256, "the longest row has 307 tokens")],
)
@pytest.mark.parametrize("task", ["cloze", "multiple-choice"])
def test_a_row_of_context_and_continuation_is_read_as_a_whole(
    task: str, letters: int, expected: int, hint: str, tmp_path: Path
) -> None:
    tokens = bytes_tokenizer(begin=True)
    model = llama(len(tokens))
    model.config.max_position_embeddings = 256
    model.save_pretrained(tmp_path / "model")
    tokens.save_pretrained(tmp_path / "model")
    row = {"context": "x" * letters, "continuation": "signs", "choices": ["no", "signs"], "gold": 0}
    (tmp_path / "test.jsonl").write_text(2 * (json.dumps(row) + "\n"))
    text = template.init(str(tmp_path / "model"), str(tmp_path / "test.jsonl"), task)
    own = written(text, tmp_path)
    assert own.max_length == expected  # <s>, the letters, a space and five letters more, in multiples of 16
    assert own.dataset.delimiter == " " and '\n  delimiter: " "' in text
    assert ("\nnormalization: characters" in text) == (task == "multiple-choice")
    line = next(line for line in text.splitlines() if line.startswith("max_length"))
    assert hint in line and ("#" in line) == bool(hint)


def test_rows_that_cannot_be_read_leave_the_usual_length(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "test.jsonl").write_text('{"context": "a", "continuation": null}\n')
    assert "\nmax_length: 128\n" in template.init(str(tmp_path / "model"), str(tmp_path / "test.jsonl"), "cloze")
