"""Columns that tasks read, and their usual names."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Column:
    """A column that the task reads: a field of `Dataset`."""

    field: str
    kind: Literal["text", "image", "audio", "label", "choices"]
    names: tuple[str, ...]
    """Usual names of this column, most likely first."""
    optional: bool = False
    described: str = ""
    """Description in a question; unset: `the FIELD`."""

    @property
    def words(self) -> str:
        """The column's description in a question."""
        return self.described or f"the {self.field}"

    def among(self, columns: Sequence[str]) -> str | None:
        """Return the most likely of the data's columns; None if none has a usual name."""
        return next((name for name in self.names if name in columns), None)


TEXT = Column(
    "text", "text", ("text", "sentence", "sentence1", "premise", "question", "content", "review", "document", "body")
)
TEXT_PAIR = Column(
    "text_pair", "text", ("text_pair", "sentence2", "hypothesis", "question2", "context"), True, "a second text"
)
IMAGE = Column("image", "image", ("image", "img", "picture", "pixel_values", "file", "file_name", "path"))
TOKENS = Column("text", "text", ("tokens", "words", "token", "word", "text"), described="the list of words")
TAGS = Column(
    "label",
    "label",
    ("ner_tags", "tags", "ner", "labels", "pos_tags", "upos", "chunk_tags", "label"),
    described="the list of tags",
)
LABEL = Column("label", "label", ("label", "labels", "target", "class", "category", "sentiment"))
