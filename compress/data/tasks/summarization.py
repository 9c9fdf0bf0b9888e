"""Summarization: a short text for a long one, judged by ROUGE against one or more references."""

from dataclasses import replace
from pathlib import Path

from compress.data.point import OperatingPoint
from compress.data.tasks import decoding, sequences, translation

SOURCES = ("article", "document", "dialogue", "text", "source", "input", "body")
TARGETS = ("highlights", "summary", "target", "abstract", "title", "output")


def prompt_lines(folder: Path) -> list[str]:
    """Return the line of a prompt that the model's configuration names for summaries, if it names one."""
    return decoding.prompt_lines(folder, "summarization")


TASK = replace(
    translation.TASK,
    name="summarization",
    pipeline_tag="summarization",
    columns=sequences.columns(SOURCES, TARGETS),
    metric="rouge_l",
    headline=OperatingPoint(batch_size=1, sequence_length=512, phase="decode", new_tokens=64),
    lines=prompt_lines,
    fits=sequences.is_of_texts,
)
