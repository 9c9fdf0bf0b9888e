"""Files of tagged words: which lines are words, which columns are words and tags, and what is an error."""

import gzip
from pathlib import Path

import pytest

from compress.base.config import InputError
from compress.data import tables, template
from compress.data.dataset import Csv, Dataset
from compress.data.formats import conll
from compress.data.split_files import split_files
from tests.tagged import TAGS, tagger, tokenizer

UNER = """\
# sent_id = 1
# text = Clara lives in New York .
1\tClara\tB-PER\t-\tme
2\tlives\tO\t-\tme
3\tin\tO\t-\tme
4\tNew York\tB-LOC\t-\tme

# sent_id = 2
1\t#\tO\t-\tme
2\t#\tO\t-\tme
"""
CONLL_2003 = """\
-DOCSTART- -X- -X- O

Clara NNP B-NP B-PER
lives VBZ B-VP O

# NN B-NP O
"""
PLAIN = "Clara B-PER\nlives O\n\n\n\nold O"
POS = "Clara\tPROPN\nlives\tVERB\n"


def read(folder: Path, text: str, name: str = "test.conll", csv: Csv | None = None) -> conll.Sentences:
    (folder / name).write_text(text, encoding="utf-8")
    return conll.read(folder / name, csv)


@pytest.mark.parametrize(
    ("text", "tokens", "tags", "lines"),
    [
        (UNER, [["Clara", "lives", "in", "New York"], ["#", "#"]], [["B-PER", "O", "O", "B-LOC"], ["O", "O"]], [3, 9]),
        (CONLL_2003, [["Clara", "lives"], ["#"]], [["B-PER", "O"], ["O"]], [3, 6]),
        (PLAIN, [["Clara", "lives"], ["old"]], [["B-PER", "O"], ["O"]], [1, 6]),
        (POS, [["Clara", "lives"]], [["PROPN", "VERB"]], [1]),
        (PLAIN.replace("\n", "\r\n"), [["Clara", "lives"], ["old"]], [["B-PER", "O"], ["O"]], [1, 6]),
    ],
    ids=["UNER", "CoNLL 2003", "two columns", "parts of speech", "Windows"],
)
def test_words_and_tags_are_found(
    text: str, tokens: list[list[str]], tags: list[list[str]], lines: list[int], tmp_path: Path
) -> None:
    found = read(tmp_path, text)
    assert (found.columns["tokens"], found.columns["ner_tags"], found.lines) == (tokens, tags, lines)


def test_named_columns_are_taken_and_the_others_keep_a_number(tmp_path: Path) -> None:
    assert read(tmp_path, CONLL_2003).dialect == "2 sentences, columns tokens, column_2, column_3, ner_tags, by spaces"
    chunks = read(tmp_path, CONLL_2003, csv=Csv(columns=("tokens", "pos", "ner_tags", "ner")))
    assert chunks.columns["ner_tags"] == [["B-NP", "B-VP"], ["B-NP"]]
    with pytest.raises(InputError, match=r"^test.conll: line 3: 4 columns, but dataset.csv.columns names 2$"):
        read(tmp_path, CONLL_2003, csv=Csv(columns=("a", "b")))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Clara B-PER\nlives\n", r"^test.conll: line 2: one column \('lives'\), where the first word has 2$"),
        ("Clara\tB-PER\nNew York O\n", r"line 2: one column \('New York O'\), where the first word has 2"),
        ("Clara\nlives\n", r"line 1: one column \('Clara'\); expected a word and its tag, by tabs or spaces"),
    ],
    ids=["no tag", "spaces among tabs", "words alone"],
)
def test_a_line_without_its_tag_is_an_error_with_its_number(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        read(tmp_path, text)


def test_a_folder_of_such_files_is_data(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    read(tmp_path / "data", PLAIN, "train.iob2")
    (tmp_path / "data" / "test.conll.gz").write_bytes(gzip.compress(UNER.encode()))
    files = split_files(tmp_path / "data", "test")
    assert files is not None and [path.name for path in files.tables] == ["test.conll.gz"]
    spec = Dataset(path=str(tmp_path / "data"), text="tokens", label="ner_tags")
    dialect = "2 sentences, columns column_1, tokens, ner_tags, column_4, column_5, by tabs"
    assert tables.dialects(tmp_path / "data", spec) == {"test.conll.gz": dialect}
    tagger(TAGS).save_pretrained(tmp_path / "model")
    tokenizer().save_pretrained(tmp_path / "model")
    made = template.init(str(tmp_path / "model"), str(tmp_path / "data"), "token-classification")
    lines = ("task: token-classification", "  text: tokens", "  label: ner_tags", "metric: entity_f1", "max_length: 64")
    assert set(lines) <= set(made.splitlines()), made
