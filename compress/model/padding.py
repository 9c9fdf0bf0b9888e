"""Check that padding changes no logits: a text alone must get the same answer as in a batch of longer texts.

Most models count positions from the first token, so that padding on the left moves every word; a few (XLNet) are
trained with padding on the left. Some look for the padding or end token of their own configuration. What goes wrong
changes accuracy with the batch size and raises no error.
"""

import torch

from compress.base.config import InputError
from compress.data.tasks import task_of
from compress.model.agreement import NONE, TOLERANCES
from compress.model.bundle import Bundle
from compress.model.outputs import logits_of

SAMPLE = 16
"""Number of examples from which the shortest, the median and the longest are taken."""


def check_padding(bundle: Bundle, place: str) -> None:
    """Raise InputError if a model answers padded texts differently. Models without padded batches are not checked.

    Models stored in low-bit formats are not checked either: some scale activations over the whole batch.
    """
    task = task_of(bundle.task)
    is_stored_low_bit = bool(bundle.layers) or getattr(bundle.model, "is_quantized", False)
    if bundle.examples is None or task.generates or not task.has_lengths or is_stored_low_bit:
        return
    examples = bundle.examples(SAMPLE)
    lengths = task.lengths(examples)
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    if not order or lengths[order[0]] == lengths[order[-1]]:
        return
    rows = [examples[order[index]] for index in (0, len(order) // 2, len(order) - 1)]
    together = _logits(bundle, rows)
    alone = torch.cat([_logits(bundle, [row]) for row in rows])
    if not alone.isfinite().all():
        raise InputError(f"{place}: its logits are not finite (nan or infinite); expected a model that gives answers")
    agreement = NONE.joined(alone, together)
    if not agreement.difference <= agreement.most(TOLERANCES[torch.float32]):
        raise InputError(
            f"{place}: padding changes its answers: logits of a text padded on the {bundle.processor.padding_side} "
            f"differ from those of the text alone by up to {agreement.difference:.3g} at a spread of "
            f"{agreement.spread:.3g}; expected no difference: check "
            "pad_token_id in config.json and the class of the tokenizer that was saved with the model"
        )


def _logits(bundle: Bundle, rows: list[dict[str, object]]) -> torch.Tensor:
    """Return the logits [rows, labels] of one padded batch, in fp32 on the CPU; of its tokens, if each has logits."""
    task = task_of(bundle.task)
    batch = task.collate(rows, bundle.processor)
    inputs = {name: value.to(bundle.device) for name, value in batch.items() if name != "labels"}
    with torch.no_grad():
        logits = logits_of(bundle.model(**inputs))
    if task.per_token:
        logits = logits[inputs["attention_mask"].bool()]
    return logits.float().cpu()
