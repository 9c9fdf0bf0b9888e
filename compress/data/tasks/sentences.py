"""Helpers of tasks whose models give one vector per text: settings of the encoder, inputs, losses."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.base.config import InputError
from compress.data.sentences import settings as sentence_settings
from compress.data.sentences.settings import MODULES, Settings
from compress.data.tasks import text_classification, texts
from compress.data.tasks.task import Batch, Task
from compress.data.tasks.view import WorkloadView

if TYPE_CHECKING:
    import torch

ARCHITECTURES = ("Model", "ForMaskedLM", "ForPreTraining", "ForCausalLM")
"""Endings of classes whose weights include a model of texts without a head."""
SETTINGS = ("pooling", "normalize", "prompt")
SEARCH_SETTINGS = ("pooling", "normalize", "query_prompt", "document_prompt")
LINES = [
    "pooling: mean  # the model does not state its pooling: take that of its card (mean, cls, max ...)",
    "normalize: true  # vectors of length 1",
]


def auto(task: Task) -> Any:
    """Return the class that makes sentence encoders."""
    from compress.data.sentences.encoder import SENTENCE_ENCODER

    return SENTENCE_ENCODER


def configure(config: Any, folder: Path | None, workload: WorkloadView) -> None:
    """Store the encoder's settings in its configuration, from the files in its folder or from the workload."""
    _configure(config, folder, workload, ("prompt",))


def configure_search(config: Any, folder: Path | None, workload: WorkloadView) -> None:
    """The same for an encoder of queries and of the texts that are searched.

    Raises InputError for prompts that are not pooled, and differ in length: a model skips as many tokens of every text.
    """
    _configure(config, folder, workload, ("query_prompt", "document_prompt"))


def _configure(config: Any, folder: Path | None, workload: WorkloadView, prompts: Sequence[str]) -> None:
    if folder is None:
        raise InputError(f"{MODULES}: cannot be looked for: the model's files are not on this machine")
    found = sentence_settings.read(folder, config, workload)
    given = [getattr(found, name) for name in prompts]
    if any(given) and not found.include_prompt:
        counts = [_prompt_tokens(folder, each) if each else 0 for each in given]
        if len(set(counts)) > 1:
            raise InputError(
                f"its prompts {' and '.join(map(repr, given))} have {' and '.join(map(str, counts))} tokens, which its "
                "pooling leaves out (include_prompt: false); expected prompts of one length"
            )
        found = replace(found, skipped=counts[0])
    sentence_settings.store(config, found)


def _prompt_tokens(folder: Path, prompt: str) -> int:
    """Return how many tokens a prompt has at the beginning of a text, with the special tokens before it."""
    processor = texts.load_processor(str(folder))
    ids = processor(prompt)["input_ids"]
    return len(ids) - (ids[-1] in processor.all_special_ids)


def unusable(model: Any) -> str:
    """Return why a model in memory cannot be used: it gives states of tokens, and no vector of the text."""
    if hasattr(model, "sentence_settings") and model.sentence_settings is not None:
        return ""
    return (
        "a plain encoder, whose pooling is not known; save it with its tokenizer in a folder, and name the folder and "
        "its pooling in a workload of sentence-similarity"
    )


def settings_of(config: Any) -> Settings:
    """Return the settings in a model's configuration. Raises InputError without any."""
    found = sentence_settings.stored(config)
    if found is None:
        raise InputError("the model does not state its pooling; load it from a workload, or from an artifact")
    return found


def lines(folder: Path) -> list[str]:
    """Return the lines of a workload that a plain encoder needs; none for a folder of sentence-transformers."""
    return [] if (folder / MODULES).is_file() else LINES


def longest(folder: Path) -> int | None:
    """Return the longest input in tokens that a folder of sentence-transformers states; None if it states none."""
    try:
        found = sentence_settings.of_folder(folder)
    except InputError:
        return None  # a run reports it
    return None if found is None else found.max_length


def write_beside(model: Any, folder: Path) -> None:
    """Write the files with which sentence-transformers reads the encoder in a folder."""
    sentence_settings.write(settings_of(model.config), int(model.config.hidden_size), folder)


def encode(
    rows: Sequence[str], processor: Any, workload: WorkloadView, own: Settings, kind: str = ""
) -> tuple[Any, int]:
    """Return the tokenizer's columns of texts after the prompt, and how many texts were cut at max_length.

    `kind` is query or document; their prompts may differ.
    """
    prompt = {"query": own.query_prompt, "document": own.document_prompt}.get(kind, own.prompt)
    given = [f"{prompt}{row}" for row in rows]
    given = [row.lower() for row in given] if own.lowercase else given
    encoded = processor(given, truncation=True, max_length=workload.max_length)
    cut = sum(bool(each.overflowing) for each in encoded.encodings or ())
    return {name: encoded[name] for name in text_classification.INPUTS if name in encoded}, cut


def length_problems(model: Any, processor: Any, workload: WorkloadView) -> list[str]:
    """Return an error for a max_length beyond the one with which the model was published."""
    stated = (settings_of(model.config).max_length, getattr(processor, "model_max_length", None))
    limit = next((each for each in stated if each is not None), None)
    if limit is None or workload.max_length <= limit:
        return []
    return [f"was published with at most {limit} tokens, but max_length is {workload.max_length}; set it to {limit}"]


def collate(examples: Sequence[Mapping[str, Any]], processor: Any) -> dict[str, "torch.Tensor"]:
    """Return one padded batch: input_ids, attention_mask, (token_type_ids), and labels [batch].

    A label is a number that identifies the text, for `losses`."""
    import torch

    batch = text_classification.padded(examples, processor)
    numbers = [zlib.crc32(str(list(example["input_ids"])).encode()) for example in examples]
    return batch | {"labels": torch.tensor(numbers)}


def outcomes(logits: "torch.Tensor", batch: Batch) -> dict[str, list[Any]]:
    """Return the vector of every row."""
    return {"vector": list(logits.detach().float().cpu().numpy())}


def losses(logits: "torch.Tensor", labels: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return [batch] projections of the vectors on random directions, and [batch] counts (1 each); float64.

    Only their gradients are of use. Texts without labels have no loss at the dense model: the squared distance from its
    own vectors is 0 there, and so is its gradient. Its curvature is what counts: removing weights w moves a vector by
    J w, and over random directions r of length 1 the mean square of r' J w is |J w|^2 / width. So the scores of
    gradients measure how far the vectors move. The directions are drawn by the numbers of the texts.
    """
    import torch

    def direction(label: int) -> torch.Tensor:
        drawn = torch.randn(logits.shape[-1], generator=torch.Generator().manual_seed(label), dtype=torch.float64)
        return drawn / drawn.norm()

    directions = torch.stack([direction(label) for label in labels.tolist()]).to(logits.device)
    projections = (logits.double() * directions).sum(dim=-1)
    return projections, torch.ones_like(projections)


def soft_loss(student: "torch.Tensor", teacher: "torch.Tensor", temperature: float) -> "torch.Tensor":
    """Return the mean of 1 - cosine between two models' vectors [batch, width]; vectors have no temperature.

    Of vectors of different widths: the mean squared difference of the cosines between the texts of the batch.
    """
    from torch.nn import functional as F

    ours, theirs = F.normalize(student.float(), dim=-1), F.normalize(teacher.float(), dim=-1)
    if ours.shape == theirs.shape:
        return 1 - (ours * theirs).sum(dim=-1).mean()
    return (ours @ ours.T - theirs @ theirs.T).square().mean()
