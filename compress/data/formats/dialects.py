"""Parse delimited text in a given dialect: every field as written, with line numbers."""

import re
from dataclasses import dataclass
from typing import Literal

from compress.data.formats.text_files import Malformed, split_lines

Quoting = Literal["double", "backslash", "none"]
QUOTED = {
    "double": r'"(?P<quoted>(?:[^"]++|"")*+)"',
    "backslash": r'"(?P<quoted>(?:[^"\\]++|\\.)*+)"',
}
ESCAPED = {"double": (re.compile('""'), '"'), "backslash": (re.compile(r'\\(["\\])'), r"\1")}


@dataclass(frozen=True)
class Parsed:
    """Rows in one dialect."""

    rows: list[list[str]]
    lines: list[int]
    """The line on which each row begins, from 1."""
    quoted: list[tuple[int, int, bool]]
    """Of every quoted field: row, column, and whether it needed its quotes."""


def plain(text: str, separator: str) -> Parsed:
    """Return the rows of a text with quotes as ordinary characters; blank lines are skipped."""
    numbered = [(line, number) for number, line in enumerate(split_lines(text), 1) if line.strip(" ")]
    return Parsed([line.split(separator) for line, _ in numbered], [number for _, number in numbered], [])


def quoted(text: str, separator: str, quoting: Quoting) -> Parsed:
    """Return the rows of a text with quoted fields. Raises Malformed for an unclosed quote."""
    end = r"\r?\n" if "\n" in text else "\r"
    delimiter = re.escape(separator)
    field = re.compile(
        rf"(?:{QUOTED[quoting]}|(?P<plain>(?!\")[^{delimiter}{end[-2:]}]*+))(?P<end>{delimiter}|{end}|\Z)", re.DOTALL
    )
    escaped, replacement = ESCAPED[quoting]
    must_quote = re.compile(rf'["\r\n{delimiter}]')
    parsed = Parsed([], [], [])
    row: list[str] = []
    position, line, first_line = 0, 1, 1
    while position < len(text) or row:
        match = field.match(text, position)
        if match is None:
            raise Malformed(f"a field that begins with a quote does not end with one (quoting {quoting})", line)
        value = match["quoted"]
        if value is None:
            value = match["plain"].removesuffix("\r") if match["end"] == "\n" else match["plain"]
        else:
            line += value.count("\n") if "\n" in text else value.count("\r")
            value = escaped.sub(replacement, value)
            parsed.quoted.append((len(parsed.rows), len(row), bool(must_quote.search(value))))
        row.append(value)
        position = match.end()
        if match["end"] != separator:
            if len(row) > 1 or row[0].strip(" ") or match["quoted"] is not None:  # otherwise a blank line
                parsed.rows.append(row)
                parsed.lines.append(first_line)
            row = []
            line += 1
            first_line = line
    return parsed
