"""Every row and field of a csv or tsv is read as written, whatever its dialect; else there is one error with a line."""

import csv
import gzip
import io
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.base.config import InputError
from compress.data.dataset import Csv
from compress.data.dataset import Dataset as Spec
from compress.data.formats import delimited, json_rows, readers

TEXTS = ["a plain film", "null", "NA", "None", "nan", "1984", "007", "1e5", "True", "", " spaced ", "naïve, über"]


def table(path: Path, content: str | bytes, dialect: Csv | None = None) -> delimited.Table:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return delimited.read(path, dialect)


def written(rows: list[list[str]], **how: Any) -> str:
    out = io.StringIO()
    csv.writer(out, **how).writerows(rows)
    return out.getvalue()


ROWS = [["text", "label"], *([text, str(index % 2)] for index, text in enumerate(TEXTS))]


@pytest.mark.parametrize("name", ["test.csv", "test.CSV", "test.csv.gz", "test.tsv"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_texts_stay_as_written_in_every_dialect(
    tmp_path: Path, name: str, separator: str, end: str, encoding: str
) -> None:
    data = written(ROWS, delimiter=separator, lineterminator=end).encode(encoding)
    found = table(tmp_path / name, gzip.compress(data) if name.endswith("gz") else data)
    assert (found.columns, found.rows) == (ROWS[0], ROWS[1:])
    assert found.separator == separator


def test_quotes_at_the_beginning_of_two_texts_of_a_tsv_swallow_no_rows(tmp_path: Path) -> None:
    rows = [[f"text number {index}", str(index % 2)] for index in range(200)]
    rows[35][0], rows[105][0] = '"Good film', 'a plot"'
    found = table(tmp_path / "a.tsv", "\n".join("\t".join(row) for row in [["text", "label"], *rows]))
    assert (found.rows, found.quoting) == (rows, "none")


def test_ambiguous_quotes_in_a_csv_are_refused_until_quoting_is_set(tmp_path: Path) -> None:
    content = 'text,label\nfine,1\n"Good film,1\nawful,0\na plot",0\n'
    with pytest.raises(InputError, match=r"a.csv: line 3: .*quoting double.*with none.*dataset.csv.quoting"):
        table(tmp_path / "a.csv", content)
    assert len(table(tmp_path / "a.csv", content, Csv(quoting="none")).rows) == 4
    assert len(table(tmp_path / "a.csv", content, Csv(quoting="double")).rows) == 2


@pytest.mark.parametrize(
    ("name", "content", "texts", "quoting"),
    [
        ("a.csv", 'text,label\n"he said \\"no, no\\" twice",1\nb,0\n', ['he said "no, no" twice', "b"], "backslash"),
        ("a.csv", 'text,label\n"he said ""no, no"" twice",1\nb,0\n', ['he said "no, no" twice', "b"], "double"),
        ("a.csv", 'text,label\n"two\nlines, one text",1\nb,0\n', ["two\nlines, one text", "b"], "double"),
        ("a.csv", 'text,label\n"C:\\\\new",1\nb,0\n', ["C:\\\\new", "b"], "double"),
        ("a.csv", 'text,label\n5" pipe,1\n"b",0\n', ['5" pipe', "b"], "double"),
        ("a.csv", 'text,label\n"He" said,1\nb,0\n', ['"He" said', "b"], "none"),
        ("a.tsv", 'text\tlabel\n"He" said\t1\n"b"\t0\n', ['"He" said', '"b"'], "none"),
        ("a.tsv", 'text\tlabel\n"b"\t0\nc\t1\n', ['"b"', "c"], "none"),
        ("a.tsv", 'text\tlabel\n"He said ""no"""\t1\nb\t0\n', ['He said "no"', "b"], "double"),
        ("a.tsv", 'text\tlabel\n"He said \\"no\\""\t1\nb\t0\n', ['He said "no"', "b"], "backslash"),
        ("a.tsv", '"text"\t"label"\n"a"\t"1"\n"b"\t"0"\n', ["a", "b"], "double"),
        ("a.tsv", 'text\tlabel\n"a tab\there"\t1\nb\t0\n', ["a tab\there", "b"], "double"),
        ("a.tsv", '"text"\t"label"\n"a"\t1\n"b"\t0\n', ["a", "b"], "double"),  # pandas, QUOTE_NONNUMERIC
        ("a.tsv", '"text"\t"label"\n"a"\t1\nNA\t0\n1984\t1\n', ["a", "NA", "1984"], "double"),  # R
        ("a.tsv", '"text"\t"label"\n"a ""b"""\t1\n"c"\t0\n', ['a "b"', "c"], "double"),
        ("a.csv", '"text","label"\n"a",1\n"b",0\n', ["a", "b"], "double"),
        ("a.tsv", 'text\tlabel\n"a, b"\t1\nc\t0\n"d, e"\t0\n', ["a, b", "c", "d, e"], "double"),  # Excel
        ("a.tsv", 'text\tlabel\n"a, b"\t1\nc\t0\n"d ""e"""\t0\n', ["a, b", "c", 'd "e"'], "double"),
        ("a.tsv", 'text\tlabel\n"a, b"\t1\nc, d\t0\n"e, f"\t0\n', ['"a, b"', "c, d", '"e, f"'], "none"),
        ("a.csv", "text;label;score, mean\na;1;0,5\nb;0;0,7\n", ["a", "b"], "none"),
        ("a.csv", "text;label;score, mean\na, b, c;1;0,5\n", ["a, b, c"], "none"),
        ("a.tsv", "text\tlabel, gold\na, b\t0\nc, d\t0\n", ["a, b", "c, d"], "none"),
        ("a.csv", "sep=;\r\ntext,a;label\r\na,b;1\r\n", ["a,b"], "none"),
        ("a.csv", '"sep=|"\ntext|label\n"a;b"|1\n', ["a;b"], "double"),
        ("a.csv", "text,label\n\na;b,1\n\n\nb,0\n\n", ["a;b", "b"], "none"),
        ("a.csv", "text;label\na, b;1\nc, d;0", ["a, b", "c, d"], "none"),
        ("a.csv", 'text,label\n"",1\nb,0', ["", "b"], "double"),
        ("a.csv", f"text,label\n{'x' * 2_000_000},1\nb,0", ["x" * 2_000_000, "b"], "none"),
        ("a.tsv", "text\tlabel\na\u2028b\x0bc\x85\t1\nb\t0", ["a\u2028b\x0bc\x85", "b"], "none"),
    ],
)  # fmt: skip
def test_the_dialect_is_the_one_in_which_all_rows_are_whole(
    tmp_path: Path, name: str, content: str, texts: list[str], quoting: str
) -> None:
    found = table(tmp_path / name, content)
    assert ([row[0] for row in found.rows], found.quoting) == (texts, quoting)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"text,label\na,1\nb\n", "line 3: 1 fields, but the header has 2"),
        (b"text,label\na,1\nb,0,9\n", "line 3: 3 fields, but the header has 2"),
        (b"text,label\na,1\nend of file", "line 3: 1 fields"),
        (b'text,label\n"x, y",1\n"b" said,0\n', "line 3: a field that begins with a quote does not end with one"),
        (b'text,label\n"two\nlines",1\n"b,0\n', "line 4: a field that begins with a quote"),
        ("text,label\na,1\nnaïve,0\n".encode("latin-1"), "line 3: byte 0xef is not valid utf-8.*dataset.csv.encoding"),
        (b"text,label\na,1\nb\0,0\n", "line 3: a NUL byte"),
        ("text,label\na,1\n".encode("utf-16-le"), "line 1: a NUL byte"),
        (b"text,text,label\na,b,1\n", "line 1: duplicate columns text"),
    ],
)  # fmt: skip
def test_a_malformed_table_is_one_error_with_its_line(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(InputError, match=rf"a.csv: {said}"):
        table(tmp_path / "a.csv", content)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.tsv", 'text\tlabel\nc\t0\n"a, b"\t1\n', "line 3: this field fits quoting .*dataset.csv.quoting"),
        ("a.tsv", 'text\tlabel\nc\t0\n"a, b"\t1\n"d"\t1\n', "line 3: this field fits quoting .*dataset.csv.quoting"),
        (
            "a.tsv",
            'text\tlabel\n"a ""b"""\t0\n"c, d"\t1\ne, f\t0',
            "line 2: this field fits quoting .*dataset.csv.quoting",
        ),
        ("a.csv", "text;label,score\na;1,5\n", "line 1: 2 fields with separator comma and with semicolon; set"),
        ("a.csv", "sep=;\ntext;label\na;1\nb\n", "line 4: 1 fields"),
    ],
)
def test_an_ambiguous_table_is_refused_with_its_line(tmp_path: Path, name: str, content: str, said: str) -> None:
    with pytest.raises(InputError, match=rf"{name}: {said}"):
        table(tmp_path / name, content)


def test_separators_that_fit_files_without_a_header_alike_are_refused(tmp_path: Path) -> None:
    columns = Csv(columns=("text", "label"))
    with pytest.raises(InputError, match=r"set dataset.csv.separator"):
        table(tmp_path / "a.csv", "a, b;1\nc, d;0\n", columns)
    assert table(tmp_path / "a.tsv", "a, b\t1\n", columns).rows == [["a, b", "1"]]
    assert table(tmp_path / "a.tsv", '"a"\t1\n"b"\t1\n', columns).rows == [["a", "1"], ["b", "1"]]
    assert table(tmp_path / "a.csv", "\n", columns).rows == []


def test_set_fields_are_not_detected(tmp_path: Path) -> None:
    found = table(tmp_path / "a.csv", "a;b|1\nc|0", Csv(separator="|", columns=("text", "label")))
    assert (found.columns, found.rows) == (["text", "label"], [["a;b", "1"], ["c", "0"]])
    latin = table(tmp_path / "a.csv", "text,label\nnaïve,1".encode("latin-1"), Csv(encoding="latin-1"))
    assert latin.rows == [["naïve", "1"]]
    assert latin.dialect == "separator comma, quoting none, encoding latin-1"
    no_files = ("utf-9", "base64", "punycode", "idna", "unicode_escape", "raw_unicode_escape", "undefined", "rot13")
    for wrong in ({"separator": "ab"}, {"separator": "\n"}, *({"encoding": name} for name in no_files)):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Csv(**wrong)


CELL = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=12)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(CELL, st.sampled_from("01")), min_size=1, max_size=8), st.sampled_from([",", ";", "\t"]))
def test_a_quoted_csv_gives_the_rows_it_was_written_from(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], separator: str
) -> None:
    content = written(
        [["text", "label"], *map(list, rows)], delimiter=separator, quoting=csv.QUOTE_ALL, lineterminator="\n"
    )
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    try:
        assert table(path, content).rows == [list(row) for row in rows]
    except InputError as error:
        assert "both fit" in str(error)


JSON = [{"text": text, "label": index % 2} for index, text in enumerate(TEXTS)]


@pytest.mark.parametrize(
    "form",
    [
        lambda dumps: "\n".join(map(dumps, JSON)),
        lambda dumps: "\n\n" + "\r\n\r\n".join(map(dumps, JSON)) + "\n\n",
        lambda dumps: "\ufeff" + "\n".join(map(dumps, JSON)),
        lambda dumps: dumps(JSON),
        lambda dumps: dumps({"data": JSON}),
        lambda dumps: f'{{\n "data":\n {dumps(JSON)}\n}}',
        lambda dumps: dumps({name: [row[name] for row in JSON] for name in JSON[0]}),
    ],
    ids=["lines", "blank lines", "byte order mark", "array", "data", "data on lines", "columns"],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.jsonl.gz"])
def test_json_is_lines_or_an_array_or_an_object_that_holds_one(tmp_path: Path, form: Any, name: str) -> None:
    import json

    content = form(json.dumps).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    found = readers.read_files([tmp_path / name], Spec(path="d"))
    assert found["text"] == TEXTS
    assert found["label"] == [row["label"] for row in JSON]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"text": "a", "label": 1}\n{"text": "b"', "line 2: not JSON"),
        ('{"text": "a", "label": 1}\n[1]', "line 2: a list; expected an object"),
        ('{"text": "a", "label": 1}\n\n{"text": 1984, "label": 1}', "line 3: 'text' is 1984, a int"),
        ("[" * 100_000, "nested too deep"),
        ('[{"text": "a"}, 3]', "line 2: a int; expected an object"),
        ('{"text": "a", "label": 1}\n{"text": "b", "label": 0, "label": 1}', "line 2: 'label' occurs twice"),
        ('{"text": "b", "label": 0, "label": 1}', "line 1: 'label' occurs twice"),
        ('[{"text": "a", "label": 1},\n {"text": "b", "text": "c"}]', "line 2: 'text' occurs twice"),
        (f'{{"text": "a", "label": 1}}\n{{"text": "a", "label": {"1" * 5000}}}', "line 2: a number of thousands"),
        (f'[{{"text": "a",\n "label": {"1" * 5000}}}]', "a number of thousands"),
        ('{"text": {"0": "a", "1": "b"}, "label": {"0": 0, "1": 1}}', "line 1: one object .*: one object per line, an"),
        ('{"version": "1.0", "data": [{"text": "a", "label": 1}]}', "line 1: one object whose 'data' is not a plain"),
        ('{"text": ["a", "b"], "label": [1]}', "line 1: one object whose 'text' is not a plain"),
        ('{"train": [{"text": "a"}], "test": [{"text": "b"}]}', "line 1: one object whose 'train'"),
    ],
)
def test_json_without_rows_is_one_error_with_its_line(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(InputError, match=rf"a.jsonl: {said}"):
        json_rows.read(tmp_path / "a.jsonl", ["text"])


def test_columns_without_rows_are_no_rows(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"text": [], "label": []}')
    assert json_rows.read(tmp_path / "a.json", ["text"]) == {}


def test_a_file_of_one_row_may_hold_lists_beside_its_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a", "label": 1, "words": ["a"], "from": {"page": 1}}')
    assert json_rows.read(tmp_path / "a.jsonl", ["text"])["text"] == ["a"]


def test_labels_of_mixed_types_are_read_as_their_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a", "label": 1}\n{"text": "b", "label": "0"}\n{"text": "c"}\n')
    assert json_rows.read(tmp_path / "a.jsonl", ["text"])["label"] == ["1", "0", None]


def test_a_damaged_gzip_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"text,label\n" + b"some text,1\n" * 99)[:-20])
    with pytest.raises(InputError, match=r"a.csv.gz: cannot be read"):
        delimited.read(tmp_path / "a.csv.gz", None)


def test_thousands_of_columns_are_read_at_once(tmp_path: Path) -> None:
    names = [f"c{index}" for index in range(20_000)]
    (tmp_path / "a.csv").write_text(f"{','.join(names)}\n{','.join('1' for _ in names)}\n")
    (tmp_path / "a.jsonl").write_text("{" + ",".join(f'"{name}": 1' for name in [*names, "c19999"]) + "}")
    before = time.process_time()
    delimited.read(tmp_path / "a.csv", None)
    with pytest.raises(InputError, match="'c19999' occurs twice"):
        json_rows.read(tmp_path / "a.jsonl", [])
    assert time.process_time() - before < 2


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"text": "a", "label": 100000000000000000000000}', "'label' is 100000000000000000000000, which exceeds 64"),
        ('{"text": "a", "label": [{"x": -9223372036854775809}]}', "'label' is -9223372036854775809, which"),
        ('{"text": "a\\ud800", "label": 1}', "'text' holds .*half of a surrogate pair"),
    ],
)
def test_values_that_no_table_holds_are_one_error_with_line_and_column(tmp_path: Path, row: str, said: str) -> None:
    good = '{"text": "\\ud83d\\ude00", "label": 9223372036854775807}'
    (tmp_path / "a.jsonl").write_text(good + "\n" + row + "\n")
    with pytest.raises(InputError, match=f"a.jsonl: line 2: {said}"):
        json_rows.read(tmp_path / "a.jsonl", ["text"])
    (tmp_path / "a.jsonl").write_text(good)
    assert json_rows.read(tmp_path / "a.jsonl", ["text"]) == {"text": ["\U0001f600"], "label": [2**63 - 1]}


@pytest.mark.parametrize(("mark", "detected"), [("utf-16-be", "utf-16-le"), ("utf-8", "latin-1")])
def test_an_encoding_that_contradicts_the_byte_order_mark_is_refused(tmp_path: Path, mark: str, detected: str) -> None:
    (tmp_path / "a.csv").write_bytes("\ufefftext,label\na,1\n".encode(mark))
    assert delimited.read(tmp_path / "a.csv", Csv(encoding=mark)).rows == [["a", "1"]]
    with pytest.raises(InputError, match=f"byte order mark of {mark}, but dataset.csv.encoding is {detected}"):
        delimited.read(tmp_path / "a.csv", Csv(encoding=detected))


def test_files_of_thousands_of_columns_are_refused(tmp_path: Path) -> None:
    names = [f"c{index}" for index in range(1001)]
    (tmp_path / "a.csv").write_text(f"{','.join(names)}\n{','.join('1' for _ in names)}\n")
    (tmp_path / "a.jsonl").write_text("".join(f'{{"{name}": 1}}\n' for name in names))
    for file in ("a.csv", "a.jsonl"):
        with pytest.raises(InputError, match=f"{file}: 1001 columns; expected 1000 at most"):
            readers.read_files([tmp_path / file], Spec(path="d"))
