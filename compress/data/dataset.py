"""Settings for the data of a workload: location, file format and columns."""

import codecs
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from compress.base.config import Config

NOT_OF_FILES = ("idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "mbcs", "oem")
"""Python codecs that are not file encodings, or that exist on one system only."""


class Csv(Config):
    """Format of csv and tsv files; unset fields are detected from the whole file. Of conll and iob2 files, only
    columns and encoding are read."""

    separator: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """Character between two fields; detected among comma, semicolon, tab and vertical bar."""
    quoting: Literal["double", "backslash", "none"] | None = None
    """Escape of a quote inside a quoted field: double or backslash. With none, quotes are part of the text."""
    encoding: str | None = None
    """Encoding of the text, such as latin-1; detected: utf-8, and utf-16 or utf-32 with a byte order mark."""
    columns: tuple[str, ...] | None = None
    """Names of the columns of files without a header, of conll and iob2 too; unset: the first line names them."""

    @field_validator("separator")
    @classmethod
    def _separator_separates(cls, value: str | None) -> str | None:
        if value is not None and value in '\r\n"\\':
            raise ValueError("expected one character that is neither a line end, a quote nor a backslash")
        return value

    @field_validator("encoding")
    @classmethod
    def _encoding_is_known(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                "a".encode(value)
                known = codecs.lookup(value).name not in NOT_OF_FILES
            except (LookupError, UnicodeError, ValueError, AttributeError):
                known = False
            if not known:
                raise ValueError("unknown encoding of files; expected a name such as utf-8, utf-16, latin-1, cp1252")
        return value


def _as_default(default: str) -> Callable[[object], bool]:
    """Return whether to leave a field with this default out of stored settings, for the same reason as `_unset`."""
    return lambda value: value == default


def _unset(value: object) -> bool:
    """Return whether to leave a field out of stored settings: digests stay equal to those of earlier versions."""
    return value is None


class Dataset(Config):
    """Location and columns of the examples."""

    path: Annotated[str, Field(min_length=1)]
    """Hub id, a folder or a file (parquet, csv, tsv, jsonl, json, txt, conll, iob2, also gzipped), or offline:NAME."""
    name: str | None = None
    """Configuration of a hub data set."""
    revision: str | None = None
    """Commit of a hub data set."""
    train: str | None = "train"
    """Split, or file in the folder or in the hub's repository, for calibration and training."""
    test: str = "test"
    """Split, or file in the folder or in the hub's repository, for evaluation."""
    test_examples: Annotated[int, Field(ge=2)] | None = Field(default=None, exclude_if=_unset)
    """Judge on this many evenly spaced examples of the test split, in every run; training is not limited."""
    text: str = "text"
    """Column of the text, of the list of words, or of the query."""
    text_pair: str | None = None
    """Column of the second text of a pair."""
    label: str = "label"
    """Column of the class, or of the list of tags, one a word: a number, or a name that the model's configuration
    lists."""
    labels: Literal["ids", "names"] | None = Field(default=None, exclude_if=_unset)
    """Meaning of numbers in the label column: class ids or class names of the model; required if both fit."""
    label_columns: tuple[str, ...] | None = Field(default=None, exclude_if=_unset)
    """Multi-label classification: one column for each label, in place of a column of lists."""
    choices: str = Field(default="choices", exclude_if=_as_default("choices"))
    """Column of the list of possible continuations of a text."""
    positives: str = Field(default="positives", exclude_if=_as_default("positives"))
    """Column of the list of texts that are relevant for a query."""
    negatives: str = Field(default="negatives", exclude_if=_as_default("negatives"))
    """Column of the list of texts that are not."""
    grades: str | None = Field(default=None, exclude_if=_unset)
    """Column of the list of numbers that grade the relevance of the positives; unset: 1 each."""
    continuation: str = Field(default="continuation", exclude_if=_as_default("continuation"))
    """Column of the right continuation of a text."""
    target: str = Field(default="target", exclude_if=_as_default("target"))
    """Column of the text that a source is translated or summarised to, or of a list of such texts. `translation.de` is
    the part `de` of a column of mappings."""
    corpus: str | None = Field(default=None, exclude_if=_unset)
    """Retrieval: split or file of the texts that are searched; the test split holds the queries."""
    qrels: str | None = Field(default=None, exclude_if=_unset)
    """Retrieval: split or file of the judgements: query-id, corpus-id and score, a grade."""
    delimiter: str = Field(default=" ", exclude_if=_as_default(" "))
    r"""Text between a context and its continuation, such as "\nAnswer: "."""
    image: str = "image"
    """Column of the image or its file name; `file_name` if the table has no such column."""
    audio: str = Field(default="audio", exclude_if=_as_default("audio"))
    """Column of the sound: a mapping of array and sampling_rate, a stored file, or its name; `file_name` if the table
    has no such column."""
    csv: Csv | None = Field(default=None, exclude_if=_unset)
    """Format of csv, tsv, conll and iob2 files; detected if unset."""

    @field_validator("train", "test", "corpus", "qrels")
    @classmethod
    def _split_is_a_name(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and (problem := split_name_problem(value)):
            raise ValueError(f"{problem}{'; without a train split, write null' if info.field_name == 'train' else ''}")
        return value

    @model_validator(mode="after")
    def _nothing_is_judged_on_its_own_training_data(self) -> "Dataset":
        if self.train is not None and self.train == self.test:
            raise ValueError(f"train and test are the same split {self.test!r}; expected two, or train: null")
        return self


def split_name_problem(name: str) -> str | None:
    """Return why a split's name is invalid, or None. A valid name stays inside the data's folder."""
    if not name.strip() or name != name.strip() or not name.isprintable():
        return "expected the name of a split or of a file, without spaces around it"
    if name.startswith(("/", "~")) or "\\" in name or {".", "..", ""} & set(name.removesuffix("/").split("/")):
        return "expected the name of a split, or the path of a file relative to the data's folder"
    if "**" in name or (set(name) & set("*?") and not Path(name).suffix):  # `data/test-*.parquet` of a hub repository
        return "expected the name of one split or of one file, not a pattern"
    return None
