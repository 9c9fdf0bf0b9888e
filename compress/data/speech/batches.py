"""Batches of recordings, as models of both kinds take them.

    Whisper   input_features [batch, bins, frames], decoder_input_ids and labels [batch, tokens]
    CTC       input_values [batch, samples]; labels [batch, tokens + 1], -100 after a text's own, at last -1000 minus
              the id of the blank

CTC batches have no mask. Judged and compared ones hold recordings of one length: beside a longer one, padding changes
the logits of models with group norm, masked or not, since the norm takes its mean over all frames. Batches of training
and calibration are filled with silence.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.base.config import InputError
from compress.data.point import OperatingPoint
from compress.data.speech import models, whisper
from compress.data.speech.processor import of
from compress.data.tasks import sequences
from compress.data.tasks.blocks import padded
from compress.data.tasks.task import IGNORED

if TYPE_CHECKING:
    import datasets
    import torch

FEWEST = 400
"""Samples of a CTC model's first frame: 25 ms at 16 kHz."""
FEATURES = "input_features"
BLANK = -1000
"""The last label of a CTC batch is this number minus the id of the blank, which losses need."""


def labels(texts: Sequence[str], tokenizer: Any, config: Any, writes: bool) -> list[list[int]]:
    """Return the ids of every reference: of Whisper with its end token, and cut at the longest text.

    A CTC vocabulary has letters of one case: the case with the fewest unknown letters is taken.
    """
    if writes:
        settings = whisper.settings_of(config)
        end = settings["eos_token_id"]
        stop = end if isinstance(end, int) else end[0]
        most = settings["max_new_tokens"]
        return [[*_ids(tokenizer, text)[: most - 1], stop] for text in texts]
    cases = [[change(text) for text in texts] for change in (str, str.upper, str.lower)]
    encoded = [[_ids(tokenizer, text) for text in each] for each in cases]
    unknown = tokenizer.unk_token_id
    return min(encoded, key=lambda rows: sum(row.count(unknown) for row in rows))


def _ids(tokenizer: Any, text: str) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return found


def collate(examples: Sequence[Mapping[str, Any]], processor: Any) -> dict[str, "torch.Tensor"]:
    """Return one batch; see the module's docstring. Shorter recordings of CTC are filled with silence."""
    import torch

    processor = of(processor)
    name = processor.input_name
    given = [np.asarray(example[name], dtype=np.float32) for example in examples]
    longest = max(each.shape[-1] for each in given)
    filled = [np.pad(each, [(0, 0)] * (each.ndim - 1) + [(0, longest - each.shape[-1])]) for each in given]
    batch = {name: torch.from_numpy(np.stack(filled))}
    targets = [list(example["labels"]) for example in examples]
    if name != FEATURES:
        blank = torch.full((len(targets), 1), BLANK - processor.tokenizer.pad_token_id)
        return batch | {"labels": torch.cat([padded(targets, IGNORED)[0], blank], dim=1)}
    prompts = [list(example["prompt"]) for example in examples]
    pairs = list(zip(prompts, targets, strict=True))
    pad = pairs[0][1][-1]  # the end token: what follows it is read by no position that counts
    before, _ = padded([[*prompt, *target[:-1]] for prompt, target in pairs], pad)
    after, _ = padded([[IGNORED] * (len(prompt) - 1) + target for prompt, target in pairs], IGNORED)
    return batch | {"decoder_input_ids": before, "labels": after}


def alike(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows with waveforms cut to the shortest; spectrograms have one length."""
    if models.WAVEFORM not in rows[0]:
        return [dict(row) for row in rows]
    shortest = min(len(row[models.WAVEFORM]) for row in rows)
    return [{**row, models.WAVEFORM: row[models.WAVEFORM][:shortest]} for row in rows]


def fixed(
    examples: "datasets.Dataset", processor: Any, point: OperatingPoint, count: int, seed: int
) -> list[dict[str, "torch.Tensor"]]:
    """Return `count` batches of recordings of exactly the point's seconds, joined and cut from real ones.

    Those of Whisper have `decoder_input_ids`, its prompt, for a pass up to the first new token.
    """
    import torch

    if point.audio_s is None:
        raise InputError("an operating point of speech needs audio_s, seconds of sound, such as audio_s: 10")
    processor = of(processor)
    wanted = point.audio_s * processor.sampling_rate
    waves = _Waves(examples, processor, seed)
    made = []
    for _ in range(count):
        features = np.stack([processor.features(waves.take(wanted)) for _ in range(point.batch_size)])
        batch = {processor.input_name: torch.from_numpy(features)}
        if processor.input_name == FEATURES:
            prompt = examples.with_format(None)[0]["prompt"]
            batch["decoder_input_ids"] = torch.tensor([prompt] * point.batch_size)
        made.append(batch)
    return made


class _Waves:
    """The examples' sound in random order as one endless waveform."""

    def __init__(self, examples: "datasets.Dataset", processor: Any, seed: int) -> None:
        self._rows = examples.with_format(None)
        self._column = next(name for name in self._rows.column_names if name not in OWN)
        self._processor = processor
        self._order = np.random.default_rng(seed).permutation(len(examples)).tolist()
        self._next = 0
        self._left = np.zeros(0, dtype=np.float32)

    def take(self, samples: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return the next samples [samples]."""
        from compress.data.formats import sound

        parts, held = [self._left], len(self._left)
        while held < samples:
            value = self._rows[self._order[self._next % len(self._order)]][self._column]
            parts.append(sound.mono(value, self._processor.sampling_rate))
            self._next, held = self._next + 1, held + len(parts[-1])
        joined = np.concatenate(parts)
        self._left = joined[samples:]
        return joined[:samples]


OWN = ("text", "samples", "labels", "prompt", "normalizer")
"""Columns of prepared examples beside their sound."""


def aligned(logits: "torch.Tensor", labels: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return logits with the label that each predicts, -100 for none; of CTC every frame counts, with label 0."""
    import torch

    if not is_ctc(labels):
        return logits, labels
    return logits, torch.zeros(logits.shape[:2], dtype=torch.long, device=logits.device)


def is_ctc(labels: "torch.Tensor") -> bool:
    """Return whether labels [batch, tokens] are those of a CTC batch."""
    return bool((labels[:, -1] <= BLANK).all())


def losses(logits: "torch.Tensor", labels: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return [batch] nll (nats, summed) of the references, and [batch] counts of their tokens; float64.

    Logits are those of the reference's tokens [batch, tokens, vocabulary] of Whisper, or of frames of CTC (Graves et
    al. 2006), summed over all alignments.
    """
    import torch

    if not is_ctc(labels):
        return sequences.losses(logits, labels)
    blank, targets = BLANK - int(labels[0, -1]), labels[:, :-1].to(logits.device)
    own = targets != IGNORED
    scores = logits.double().log_softmax(dim=-1).transpose(0, 1)  # [frames, batch, labels]
    frames = torch.full((len(labels),), len(scores), dtype=torch.long)
    nll = torch.nn.functional.ctc_loss(
        scores, targets.masked_fill(~own, blank), frames, own.sum(dim=1), blank, reduction="none", zero_infinity=True
    )
    return nll, own.sum(dim=1).double()
