"""Summarization: a short text for a long one, judged by ROUGE against one or more references."""

from dataclasses import replace

from compress.data.tasks import sequences, translation

SOURCES = ("article", "document", "dialogue", "text", "source", "input", "body")
TARGETS = ("highlights", "summary", "target", "abstract", "title", "output")
TASK = replace(
    translation.TASK,
    name="summarization",
    pipeline_tag="summarization",
    columns=sequences.columns(SOURCES, TARGETS),
    metric="rouge_l",
    fits=sequences.is_of_texts,
)
