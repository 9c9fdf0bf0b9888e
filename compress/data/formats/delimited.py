"""Read csv and tsv files: every row and field, or an error with its line. All values stay text as written.

The dialect is detected: in it, every row has as many fields as the header:

    quoting     a field that holds a quote          used by
    double      "a ""good"" film"                   csv (RFC 4180), pandas
    backslash   "a \\"good\\" film"                   Spark, MySQL
    none        a "good" film                       GLUE's tsv: a quote is an ordinary character

If several dialects fit and give different rows, a csv is an error. A tsv that fits quoted and unquoted is quoted if
every quoted field below the header has a reason, unquoted if none has, and an error otherwise. The reasons:

    the field needs its quotes: it holds a quote, a separator or a line end
    its whole column is quoted except NA and numbers, as pandas and R write text
    it holds a comma and no unquoted field does, as Excel writes; a single field of this kind is an error

The separator is the one with most fields, equally many in every row and the header. A tie is an error, except that a
tsv prefers its tab. A first line `sep=;`, as Excel writes it, is not a row.
"""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from compress.base.config import InputError
from compress.data.dataset import Csv
from compress.data.formats import text_files
from compress.data.formats.dialects import Parsed, Quoting, plain, quoted
from compress.data.formats.text_files import Malformed
from compress.data.split_files import kind

SEPARATORS = {".csv": (",", ";", "\t", "|"), ".tsv": ("\t", ",", ";", "|")}
BARE = re.compile(r"NA|[+-]?\d[\d.eE+-]*", re.ASCII)
NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}


@dataclass(frozen=True)
class Table:
    """The content and dialect of a csv or tsv file."""

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
    """Return the table of a file. Raises InputError with the first invalid line."""
    csv = csv or Csv()
    text, encoding = text_files.read(path, csv.encoding)
    try:
        separator, quoting, parsed, csv = _parsed(path, text, csv)
        columns, rows = _columns(parsed, csv)
    except Malformed as error:
        raise InputError(f"{path.name}: {error}") from None
    return Table(columns, rows, separator, quoting, encoding)


def all_rows(path: Path) -> list[list[str]]:
    """Return all rows of a file, its header included. Raises InputError with the first invalid line."""
    text, _ = text_files.read(path)
    try:
        return _parsed(path, text, Csv())[2].rows
    except Malformed as error:
        raise InputError(f"{path.name}: {error}") from None


def _parsed(path: Path, text: str, csv: Csv) -> tuple[str, Quoting, Parsed, Csv]:
    """Return separator, quoting and rows of a file, and the settings with the separator that it states."""
    text, csv = _without_sep_line(text, csv)
    return (*_detected(text, kind(path), csv), csv)


def _without_sep_line(text: str, csv: Csv) -> tuple[str, Csv]:
    """Return the text without Excel's line `sep=;`, and settings with its separator unless another one is set."""
    match = re.match(r'"?sep=([^\r\n"\\])"?(?=[\r\n])', text, re.IGNORECASE)
    if match is None:
        return text, csv
    return text[match.end() :], csv if csv.separator else csv.model_copy(update={"separator": match[1]})


def _columns(parsed: Parsed, csv: Csv) -> tuple[list[str], list[list[str]]]:
    if csv.columns is not None:
        columns, rows = list(csv.columns), parsed.rows
    else:
        columns, rows = [name.strip() for name in parsed.rows[0]] if parsed.rows else [], parsed.rows[1:]
    columns = [name or f"unnamed_{index}" for index, name in enumerate(columns)]
    duplicates = sorted(name for name, count in Counter(columns).items() if count > 1)
    if duplicates:
        raise Malformed(f"duplicate columns {', '.join(duplicates)}; expected distinct names", 1)
    return columns, rows


def _detected(text: str, suffix: str, csv: Csv) -> tuple[str, Quoting, Parsed]:
    """Return separator, quoting and rows for the separator with most columns, or for one column if none splits."""
    candidates = (csv.separator,) if csv.separator else SEPARATORS[suffix]
    widths = {mark: len(csv.columns) if csv.columns else _header_width(text, mark) for mark in candidates}
    splitting = {mark: width for mark, width in widths.items() if width > 1} or widths
    refused: list[tuple[int, Malformed]] = []
    fitting: list[tuple[int, tuple[str, Quoting, Parsed]]] = []
    for separator, width in splitting.items():
        try:
            fitting.append((width, (separator, *_chosen(text, separator, width, csv, suffix))))
        except Malformed as error:
            refused.append((width, error))
    if not fitting:
        raise max(refused, key=lambda item: item[0])[1]
    most, best = max(fitting, key=lambda item: item[0])
    tied = [separator for width, (separator, _, _) in fitting if width == most]
    if most > 1 and len(tied) > 1 and best[2].rows and not (suffix == ".tsv" and tied[0] == "\t"):
        raise Malformed(
            f"{most} fields with separator {' and with '.join(NAMES[mark] for mark in tied)}; set "
            "dataset.csv.separator to one of them",
            best[2].lines[0],
        )
    return best


def _header_width(text: str, separator: str) -> int:
    """Return the number of fields of the first line that is not blank."""
    first = next((line for line in text_files.split_lines(text[:1_000_000]) if line.strip()), "")
    for quoting in ("double", "backslash"):
        try:
            return len(quoted(first, separator, quoting).rows[0]) if first else 0
        except Malformed:
            continue
    return len(first.split(separator))


def _chosen(text: str, separator: str, width: int, csv: Csv, suffix: str) -> tuple[Quoting, Parsed]:
    """Return the quoting in which all rows have `width` fields, and the rows."""
    quotings: tuple[Quoting, ...] = ("double", "backslash", "none") if '"' in text else ("none",)
    quotings = (csv.quoting,) if csv.quoting else tuple(q for q in quotings if q != "backslash" or '\\"' in text)
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
    if suffix == ".tsv" and "none" in fitting:
        quoting = _unless_quoted(fitting, first=0 if csv.columns else 1)
    else:
        quoting = _standard(fitting, refused, width)
    return quoting, fitting[quoting]


def _standard(fitting: dict[Quoting, Parsed], refused: dict[Quoting, Malformed], width: int) -> Quoting:
    """Return the first quoting that fits a csv. Raises Malformed if another that fits gives different rows."""
    quoting = next(iter(fitting))
    rows = fitting[quoting].rows
    if quoting != "none" and width > 1:
        for other, parsed in fitting.items():
            if len(parsed.rows) != len(rows):
                at = next(i for i, (a, b) in enumerate(zip(rows, parsed.rows, strict=False)) if a != b)
                raise Malformed(
                    f"{len(rows)} rows with quoting {quoting}, {len(parsed.rows)} with {other}, both valid; set "
                    "dataset.csv.quoting to one of them",
                    parsed.lines[at],
                )
    enclosed = [i for i, row in enumerate(fitting[quoting].rows) for field in row if re.fullmatch(r'".+"', field, re.S)]
    if quoting == "none" and refused and enclosed:  # some fields are quoted, others violate the quoting rules
        raise next(iter(refused.values()))
    return quoting


def _unless_quoted(fitting: dict[Quoting, Parsed], first: int) -> Quoting:
    """Return the quoting of a tsv that also parses unquoted: none, unless each quoted field has a reason.

    Only rows from `first` on count, below the header. In GLUE, texts begin with a quote without any such reason.
    """
    plain = fitting["none"]
    for quoting in (q for q in fitting if q != "none"):
        parsed = fitting[quoting]
        if len(parsed.rows) != len(plain.rows):
            continue  # a quoted field would swallow rows that are complete when unquoted
        fields = [(row, column, need) for row, column, need in parsed.quoted if row >= first]
        whole = _whole_columns(parsed, fields, first)
        commas = _quoted_for_commas(parsed, fields, first)
        needed = [row for row, column, need in fields if need or column in whole]
        excel = [row for row, column, need in fields if (row, column) in commas and not (need or column in whole)]
        reasons = len(needed) + len(excel)
        if reasons and reasons == len(fields) and (needed or len(excel) > 1):
            return quoting
        if reasons:
            rest = "other fields" if reasons < len(fields) else "except for its comma"
            raise Malformed(
                f"this field fits quoting {quoting}, but {rest} fits quoting none; set "
                "dataset.csv.quoting to one of them",
                parsed.lines[(needed or excel)[0]],
            )
    return "none"


def _whole_columns(parsed: Parsed, fields: list[tuple[int, int, bool]], first: int) -> set[int]:
    """Return the columns that are quoted in every row from `first` on, except NA and numbers."""
    quoted_at = {(row, column) for row, column, _ in fields}
    return {
        column
        for column in {column for _, column in quoted_at}
        if all(
            (number, column) in quoted_at or BARE.fullmatch(row[column])
            for number, row in enumerate(parsed.rows[first:], first)
        )
    }


def _quoted_for_commas(parsed: Parsed, fields: list[tuple[int, int, bool]], first: int) -> set[tuple[int, int]]:
    """Return (row, column) of the fields that hold a comma, if all of them are quoted; else an empty set."""
    commas = {
        (number, column)
        for number, row in enumerate(parsed.rows[first:], first)
        for column, field in enumerate(row)
        if "," in field
    }
    return commas if commas <= {(row, column) for row, column, _ in fields} else set()


def _check_widths(parsed: Parsed, width: int, separator: str, quoting: Quoting) -> None:
    for row, line in zip(parsed.rows, parsed.lines, strict=True):
        if len(row) != width:
            raise Malformed(
                f"{len(row)} fields, but the header has {width} (separator {NAMES.get(separator, repr(separator))}, "
                f"quoting {quoting}); correct the line, or set dataset.csv",
                line,
            )
