"""Tables in csv and tsv files: every row and field, or an error with the line. All values stay text as written.

The dialect is the one in which every row has as many fields as the header:

    quoting     a field that holds a quote          found in
    double      "a ""good"" film"                   csv (RFC 4180), pandas
    backslash   "a \\"good\\" film"                   Spark, MySQL
    none        a "good" film                       GLUE's tsv: a quote is a letter like any other

Where several fit and give other rows, a csv is refused; a tsv is taken as unquoted unless all its quotes are needed.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from compress.base.config import InputError
from compress.data.formats import text_files
from compress.data.formats.dialects import Parsed, Quoting, plain, quoted
from compress.data.formats.text_files import Malformed
from compress.data.split_files import kind
from compress.data.workload import Csv

SEPARATORS = {".csv": (",", ";", "\t", "|"), ".tsv": ("\t", ",", ";", "|")}
NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}


@dataclass(frozen=True)
class Table:
    """A csv or tsv file, read."""

    columns: list[str]
    rows: list[list[str]]
    separator: str
    quoting: Quoting
    encoding: str

    @property
    def dialect(self) -> str:
        """The dialect in words."""
        separator = NAMES.get(self.separator, repr(self.separator))
        return f"separator {separator}, quoting {self.quoting}, encoding {self.encoding}"


def read(path: Path, csv: Csv | None) -> Table:
    """Return the table of a file. Raises InputError with the line at which it is none."""
    csv = csv or Csv()
    text, encoding = text_files.read(path, csv.encoding)
    try:
        separator, quoting, parsed = _detected(text, kind(path), csv)
        columns, rows = _columns(parsed, csv)
    except Malformed as error:
        raise InputError(f"{path.name}: {error}") from None
    return Table(columns, rows, separator, quoting, encoding)


def _columns(parsed: Parsed, csv: Csv) -> tuple[list[str], list[list[str]]]:
    if csv.columns is not None:
        columns, rows = list(csv.columns), parsed.rows
    else:
        columns, rows = [name.strip() for name in parsed.rows[0]] if parsed.rows else [], parsed.rows[1:]
    columns = [name or f"unnamed_{index}" for index, name in enumerate(columns)]
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise Malformed(f"two columns are called {', '.join(twice)}; expected different names", 1)
    return columns, rows


def _detected(text: str, suffix: str, csv: Csv) -> tuple[str, Quoting, Parsed]:
    """Return separator, quoting and rows: of the first separator that gives several columns, else of one column."""
    order = (csv.separator,) if csv.separator else SEPARATORS[suffix]
    refused: list[tuple[int, Malformed]] = []
    single: tuple[str, Quoting, Parsed] | None = None
    for separator in order:
        width = len(csv.columns) if csv.columns else _header_width(text, separator)
        try:
            quoting, parsed = _chosen(text, separator, width, suffix, csv.quoting)
        except Malformed as error:
            refused.append((width, error))
            continue
        if width > 1 or len(order) == 1:
            return separator, quoting, parsed
        single = single or (separator, quoting, parsed)
    widest = max(refused, key=lambda item: item[0], default=None)
    if widest is not None and (single is None or widest[0] > 1):
        raise widest[1]
    assert single is not None
    return single


def _header_width(text: str, separator: str) -> int:
    """Return the number of fields of the first line that is not blank."""
    first = next((line for line in text_files.split_lines(text[:1_000_000]) if line.strip()), "")
    for quoting in ("double", "backslash"):
        try:
            return len(quoted(first, separator, quoting).rows[0]) if first else 0
        except Malformed:
            continue
    return len(first.split(separator))


def _chosen(text: str, separator: str, width: int, suffix: str, asked: Quoting | None) -> tuple[Quoting, Parsed]:
    """Return the quoting in which all rows have `width` fields, with them."""
    quotings: tuple[Quoting, ...] = ("double", "backslash", "none") if '"' in text else ("none",)
    quotings = (asked,) if asked else tuple(q for q in quotings if q != "backslash" or '\\"' in text)
    fitting: dict[Quoting, Parsed] = {}
    refused: dict[Quoting, Malformed] = {}
    for quoting in quotings:
        try:
            parsed = plain(text, separator) if quoting == "none" else quoted(text, separator, quoting)
            _check_widths(parsed, width, separator, quoting)
            fitting[quoting] = parsed
        except Malformed as error:
            refused[quoting] = error
    if not fitting:
        raise refused.get("none" if suffix == ".tsv" else quotings[0]) or next(iter(refused.values()))
    quoting = _unquoted(fitting) if suffix == ".tsv" and "none" in fitting else _standard(fitting, refused, width)
    return quoting, fitting[quoting]


def _standard(fitting: dict[Quoting, Parsed], refused: dict[Quoting, Malformed], width: int) -> Quoting:
    """Return the quoting of a csv: the first that fits, unless another one that fits finds other rows."""
    quoting = next(iter(fitting))
    rows = fitting[quoting].rows
    if quoting != "none" and width > 1:
        for other, parsed in fitting.items():
            if len(parsed.rows) != len(rows):
                at = next(i for i, (a, b) in enumerate(zip(rows, parsed.rows, strict=False)) if a != b)
                raise Malformed(
                    f"{len(rows)} rows with quoting {quoting}, {len(parsed.rows)} with {other}, and both fit; set "
                    "dataset.csv.quoting to one of them",
                    parsed.lines[at],
                )
    closed = [i for i, row in enumerate(fitting[quoting].rows) for field in row if re.fullmatch(r'".+"', field, re.S)]
    if quoting == "none" and refused and closed:  # some are quoted, and others break the rules of quoting
        raise next(iter(refused.values()))
    return quoting


def _unquoted(fitting: dict[Quoting, Parsed]) -> Quoting:
    """Return the quoting of a tsv that can be read without: that, unless each quoted field needs its quotes.

    A writer that quotes does so where it must, or whole columns. GLUE's texts begin with a quote for no such reason.
    """
    plain = fitting["none"]
    for quoting in (q for q in fitting if q != "none"):
        parsed = fitting[quoting]
        if len(parsed.rows) != len(plain.rows):
            continue  # a quote that swallows rows, each of which is whole by itself
        whole = _whole_columns(parsed)
        needed = [need for _, column, need in parsed.quoted if column not in whole]
        if (whole or needed) and all(needed):
            return quoting
        if any(needed):
            row = next(row for row, column, need in parsed.quoted if need and column not in whole)
            raise Malformed(
                f"a quoted field like those of quoting {quoting}, others like those of quoting none; set "
                "dataset.csv.quoting to one of them",
                parsed.lines[row],
            )
    return "none"


def _whole_columns(parsed: Parsed) -> set[int]:
    """Return the columns that are quoted in every row below the header."""
    counts: dict[int, int] = {}
    for row, column, _ in parsed.quoted:
        counts[column] = counts.get(column, 0) + (row > 0)
    return {column for column, count in counts.items() if count and count == len(parsed.rows) - 1}


def _check_widths(parsed: Parsed, width: int, separator: str, quoting: Quoting) -> None:
    for row, line in zip(parsed.rows, parsed.lines, strict=True):
        if len(row) != width:
            raise Malformed(
                f"{len(row)} fields, but the header has {width} (separator {NAMES.get(separator, repr(separator))}, "
                f"quoting {quoting}); mend the line, or set dataset.csv",
                line,
            )
