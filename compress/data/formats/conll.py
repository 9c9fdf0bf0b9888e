"""Read conll and iob2 files: a word a line with its tag, an empty line between sentences.

    # sent_id = 1                        a comment
    1    Wolfgang    B-PER   -           columns by tabs, if any line has one: words may then hold spaces
    2    lives       O       -

    -DOCSTART- -X- O O                   marks a document, and is no word
    Wolfgang NNP B-NP B-PER              columns by spaces

Without names (`dataset.csv.columns`), the words are the first column, or the second if the first one numbers them.
The tags are the last column of entities (O, B-PER ...), or without one the last column. Both are then called tokens
and ner_tags.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compress.base.config import InputError
from compress.data.dataset import Csv
from compress.data.formats import text_files
from compress.data.formats.text_files import Malformed

KINDS = (".conll", ".iob2")
WORDS, TAGS = "tokens", "ner_tags"
DOCUMENT = "-DOCSTART-"
COMMENT = re.compile(r"#\s*\S+ = ")
NUMBER = re.compile(r"\d+([-.]\d+)?", re.ASCII)
ENTITY = re.compile(r"O|[BIES]-\S+")

Sentence = list[tuple[int, list[str]]]
"""Line and fields of every word."""


@dataclass(frozen=True)
class Sentences:
    """The content of a conll file."""

    columns: dict[str, list[list[str]]]
    """Name -> the column's values in every sentence."""
    lines: list[int]
    """The first line of every sentence."""
    separator: str

    @property
    def dialect(self) -> str:
        """What was detected, in words."""
        return f"{len(self.lines)} sentences, columns {', '.join(self.columns)}, by {self.separator}"


def read(path: Path, csv: Csv | None = None) -> Sentences:
    """Return the sentences of a file. Raises InputError with the first line of another number of columns."""
    csv = csv or Csv()
    text, _ = text_files.read(path, csv.encoding)
    lines = text_files.split_lines(text)
    tabs = any("\t" in line for line in lines)
    try:
        sentences = _sentences(lines, "\t" if tabs else None)
        width = len(sentences[0][0][1]) if sentences else 0
        names = list(csv.columns or _named(sentences, width))
        if sentences and len(names) != width:
            raise Malformed(f"{width} columns, but dataset.csv.columns names {len(names)}", sentences[0][0][0])
    except Malformed as error:
        raise InputError(f"{path.name}: {error}") from None
    text_files.check_columns(path, len(names))
    columns = {name: [[fields[i] for _, fields in each] for each in sentences] for i, name in enumerate(names)}
    return Sentences(columns, [each[0][0] for each in sentences], "tabs" if tabs else "spaces")


def _sentences(lines: Sequence[str], separator: str | None) -> list[Sentence]:
    """Return the words of every sentence. Raises Malformed for a line of another number of columns than the first."""
    sentences: list[Sentence] = []
    words: Sentence = []
    width = 0
    for number, line in enumerate([*lines, ""], 1):
        fields = line.split(separator)
        if not line.strip() or fields[0] == DOCUMENT:
            sentences += [words] if words else []
            words = []
        elif line.startswith("#") and not words and (COMMENT.match(line) or len(fields) != width):
            continue  # before a sentence; inside one, # is a word
        else:
            width = width or len(fields)
            if len(fields) != width:
                columns = "one column" if len(fields) == 1 else f"{len(fields)} columns"
                raise Malformed(f"{columns} ({line[:60]!r}), where the first word has {width}", number)
            if width < 2:
                raise Malformed(f"one column ({line[:60]!r}); expected a word and its tag, by tabs or spaces", number)
            words.append((number, fields))
    return sentences


def _named(sentences: Sequence[Sentence], width: int) -> list[str]:
    """Return a name for each column, from its values."""
    names = [f"column_{index}" for index in range(1, width + 1)]
    if not sentences:
        return names
    values = [{fields[index] for each in sentences for _, fields in each} for index in range(width)]
    starts = {each[0][1][0] for each in sentences}
    numbered = width > 2 and starts <= {"0", "1"} and all(map(NUMBER.fullmatch, values[0]))
    words = 1 if numbered else 0
    of_entities = [i for i in range(words + 1, width) if all(map(ENTITY.fullmatch, values[i]))]
    names[words], names[of_entities[-1] if of_entities else width - 1] = WORDS, TAGS
    return names
