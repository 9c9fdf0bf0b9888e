"""Translation: a text in another language, judged by BLEU and chrF against one or more references."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.data.point import NEW_TOKENS, OperatingPoint
from compress.data.tasks import decoding, sequences, texts
from compress.data.tasks.task import Task

SOURCES = ("translation.en", "source", "src", "en", "text", "input", "sentence")
TARGETS = ("translation.de", "target", "tgt", "reference", "ref", "de", "fr", "output")


SUMMARISING = ("bart", "pegasus", "pegasus_x", "led", "longt5", "prophetnet", "bigbird_pegasus")
"""Types of models that are mostly trained to summarise."""


def translates(config: Mapping[str, Any]) -> bool:
    """Return whether a model with these settings writes texts for texts, and is probably no summariser."""
    return sequences.is_of_texts(config) and config.get("model_type") not in SUMMARISING


def prompt_lines(folder: Path) -> list[str]:
    """Return the line of a prompt that the model's configuration names for translations, if it names any."""
    return decoding.prompt_lines(folder, "translation")


TASK = Task(
    name="translation",
    auto_model="AutoModelForSeq2SeqLM",
    auto_processor="AutoTokenizer",
    architectures=sequences.ARCHITECTURES,
    pipeline_tag="translation",
    columns=sequences.columns(SOURCES, TARGETS),
    metric="bleu",
    sample_outcomes=sequences.SAMPLE_OUTCOMES,
    headline=OperatingPoint(batch_size=1, sequence_length=64, phase="decode", new_tokens=NEW_TOKENS),
    first_recipe="bert_int8",
    call='model.generate(**processor("a text", return_tensors="pt"))',
    load_processor=texts.load_processor,
    check=sequences.check,
    mapped_problems=sequences.point_problems,
    prepare=sequences.prepare,
    collate=sequences.collate,
    fixed=sequences.fixed,
    outcomes=sequences.outcomes,
    losses=sequences.losses,
    lengths=sequences.lengths,
    made_up=sequences.made_up,
    configure=decoding.configure,
    lines=prompt_lines,
    writes=sequences.writes,
    answers=sequences.answers,
    settings=sequences.SETTINGS,
    protocol=sequences.protocol,
    fits=translates,
    encodes=True,
    eager_only=sequences.EAGER_ONLY,
    generates=True,
    per_token=True,
    has_labels=False,
    trains_by_losses=True,
)
