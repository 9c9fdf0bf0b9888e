"""The recordings of a split and their texts: what is wrong with a row, and a note on how they are read."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.base.config import InputError
from compress.data.bad_rows import refuse, shown
from compress.data.formats import sound
from compress.data.speech import batches, models, whisper
from compress.data.tasks import transcripts
from compress.data.tasks.labels import require_column
from compress.data.tasks.view import WorkloadView

if TYPE_CHECKING:
    import datasets


def features(value: Any, column: str, speech: Any) -> np.ndarray[Any, Any]:
    """Return the model's input for one recording. Raises InputError if it cannot be decoded."""
    try:
        return np.asarray(speech.features(sound.mono(value, speech.sampling_rate)))
    except InputError as error:
        name = value.get("path") if isinstance(value, Mapping) else value if isinstance(value, str) else None
        place = f"audio column {column!r}{f' ({name})' if name else ''}"
        raise InputError(f"{place} {problem}" for problem in error.problems) from None


def texts_of(raw: "datasets.Dataset", column: str) -> list[str]:
    """Return the transcripts. An empty one is of a recording without words. Raises BadRows for one that is no text."""
    require_column(raw, column, "text")
    found = list(raw[column])
    refuse(
        (row, f"the text is {shown(value)}; expected a transcript, or an empty text for sound without words")
        for row, value in enumerate(found)
        if not isinstance(value, str)
    )
    return found


def sounds_of(raw: "datasets.Dataset", column: str, speech: Any, most: int | None) -> list[sound.Sound]:
    """Return what is known of every recording. Raises BadRows for those that are none, empty or too long."""
    found, problems = [], []
    for row, example in enumerate(raw.select_columns([column])):
        try:
            each = sound.found(example[column])
        except InputError as error:
            problems += [(row, f"audio column {column!r} {problem}") for problem in error.problems]
            continue
        found.append(each)
        seconds = each.samples / each.sampling_rate
        if problem := _length_problem(sound.count(each, speech.sampling_rate), seconds, speech, most):
            problems.append((row, problem))
    refuse(problems)
    return found


def _length_problem(samples: int, seconds: float, speech: Any, most: int | None) -> str:
    """Return why a recording is too short or too long; empty if it is neither."""
    if samples == 0:
        return "the sound is empty; expected samples: remove the row"
    if most is not None and samples > most:
        return (
            f"the sound lasts {seconds:.1f} s, and the model reads {most / speech.sampling_rate:g} s: its end would be "
            "left out; cut it into shorter recordings with their own texts"
        )
    if most is None and samples < batches.FEWEST:
        return f"the sound has {samples} samples; expected at least {batches.FEWEST}, of which a frame is made"
    return ""


def remark(found: Sequence[sound.Sound], texts: Sequence[str], speech: Any, workload: WorkloadView, config: Any) -> str:
    """Return a note on how sound and texts were read, and on how texts are written."""
    rate = speech.sampling_rate
    total_s = sum(each.samples / each.sampling_rate for each in found)
    parts = [f"{len(found)} recordings of {total_s / len(found):.1f} s on average"]
    if other := [each for each in found if each.sampling_rate != rate]:
        rates = ", ".join(str(value) for value in sorted({each.sampling_rate for each in other}))
        parts.append(f"{len(other)} of them resampled from {rates} Hz to {rate} Hz")
    if several := sum(each.channels > 1 for each in found):
        parts.append(f"{several} of them have several channels, which were averaged")
    parts.append(transcripts.signature(workload.normalizer))
    change = transcripts.normalizer(workload.normalizer)
    if wordless := sum(not change(text) for text in texts):
        parts.append(f"{wordless} references have no words: words inserted there count as errors")
    if models.writes(config.to_dict()):
        parts.append(f"texts are written by {whisper.in_words(config)}")
    return "; ".join(parts)
