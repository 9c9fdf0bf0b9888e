"""Causal language modelling: text is cut into windows, and each is scored by the likelihood of its next tokens.

The rows of a text column are joined by blank lines into one text; `<|endoftext|>` begins a new document. A document's
tokens are cut into windows of at most max_length. Each begins with the tokenizer's first token, if it has one:

    blocks             <s> t1 ... t511    <s> t512 ... t1022    <s> t1023 ...
    strided by 256     <s> t1 ... t511    <s> t257 ... t767 (from t512)    <s> t513 ... t1023 (from t768) ...

The loss of every t is counted once: a strided window scores only the tokens that no earlier one did, with the others as
their context. Without a first token (GPT-2), the first token of each block, or of the first strided window, is not
predicted, and neither its loss nor its bytes are counted.

Perplexity is exp(sum nll / sum tokens); bits per byte is sum nll / (ln 2 * sum bytes).
"""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from compress.base.config import InputError
from compress.data import positions
from compress.data.point import NEW_TOKENS, OperatingPoint
from compress.data.tasks import texts
from compress.data.tasks.blocks import frame, packed, padded
from compress.data.tasks.columns import TEXT
from compress.data.tasks.task import IGNORED, Batch, Outcomes, Task
from compress.data.tasks.view import WorkloadView
from compress.data.tasks.windows import in_parts, windows, windows_like

if TYPE_CHECKING:
    import datasets
    import torch

DOCUMENT_END = "<|endoftext|>"


def check(model: Any, processor: Any, examples: "datasets.Dataset", workload: WorkloadView) -> list[str]:
    """Return mismatches of model and examples, one sentence each. Padding needs no token here: it is masked."""
    problems = texts.text_problems(model, processor, examples, workload)
    problems += [] if problems else texts.vocabulary_problems(model, processor)
    return problems + position_problems(model, workload)


def position_problems(model: Any, workload: WorkloadView) -> list[str]:
    """Return errors for operating points that generate beyond the model's positions."""
    limit = positions.limit(model)
    problems = []
    for point in (workload.headline_point, *workload.further_points):
        if point.generates and limit is not None and point.longest > limit:
            problems.append(f"has {limit} positions; the point of length {point.sequence_length} needs {point.longest}")
    return problems + texts.stop_problems(model, workload)


def prepare(raw: "datasets.Dataset", processor: Any, workload: WorkloadView, config: Any) -> "datasets.Dataset":
    """Return one row per window: text, input_ids, context (number of unpredicted tokens), bytes of predicted text."""
    import datasets

    documents, prefix, width, stride = _plan(raw, processor, workload)
    rows = [row for document in documents for row in windows(document, processor, prefix, width, stride)]
    if not rows:
        raise InputError("the text has fewer than two adjacent tokens; expected longer text")
    return datasets.Dataset.from_list(rows)


def prepare_like(
    raw: "datasets.Dataset", processor: Any, workload: WorkloadView, config: Any, dense: Any
) -> "datasets.Dataset":
    """Return the windows of the dense model's tokenizer in the tokens of another one, which may be more.

    The column tokens counts the predicted tokens of the dense model: perplexity is exp(sum nll / sum dense tokens).
    """
    import datasets

    documents, _, width, stride = _plan(raw, dense, workload)
    rows = [row for document in documents for row in windows_like(document, processor, dense, width, stride)]
    if not rows:
        raise InputError("the text has fewer than two adjacent tokens; expected longer text")
    limit, first = positions.stated(config.to_dict()), len(frame(processor)[0])
    parts = [list(in_parts(row["input_ids"], row["context"], first, limit)) for row in rows]
    split = sum(len(each) > 1 for each in parts)
    found = [
        {**row, "rows": [ids for ids, _ in each], "contexts": [context for _, context in each]}
        for row, each in zip(rows, parts, strict=True)
    ]
    prepared = datasets.Dataset.from_list(found)
    lacking = texts.removed(dense(documents, add_special_tokens=False, verbose=False)["input_ids"], processor, dense)
    own, theirs = sum(len(row["input_ids"]) - row["context"] for row in rows), sum(row["tokens"] for row in rows)
    remark = texts.token_remark(own, theirs, lacking, "its perplexity is per token of the dense model")
    more = f"; {split} of {len(rows)} windows are longer than its {limit} positions and are read in parts"
    prepared.info.description = remark + (more if split else "")
    return prepared


def rows_of(examples: "datasets.Dataset") -> "datasets.Dataset":
    """Return the rows in which the windows are read: the windows themselves, unless some are read in parts."""
    return texts.flattened(examples) if "rows" in examples.column_names else examples


def _plan(raw: "datasets.Dataset", processor: Any, workload: WorkloadView) -> tuple[list[str], list[int], int, int]:
    """Return the documents of the text, the first token of a window, and width and stride of windows in tokens."""
    if not getattr(processor, "is_fast", False):
        raise InputError("the model's tokenizer has no tokenizer.json; bytes per token need a fast tokenizer")
    rows = texts.text_column(raw, workload.dataset.text, "text")
    prefix, _ = frame(processor)
    documents = (document.strip() for document in "\n\n".join(rows).split(DOCUMENT_END))
    width = workload.max_length - len(prefix)
    stride = workload.stride or width
    if stride > width:
        raise InputError(f"stride {stride}: a window of max_length {workload.max_length} holds {width} tokens of text")
    return [document for document in documents if document], prefix, width, stride


def collate(examples: Sequence[Mapping[str, Any]], processor: Any) -> dict[str, "torch.Tensor"]:
    """Return one batch padded on the right: input_ids, attention_mask and labels, each [batch, longest].

    Unpredicted tokens have label -100. Causal attention ignores later tokens, so padding changes no real token.
    """
    rows = [example["input_ids"] for example in examples]
    ids, mask = padded(rows, processor.pad_token_id if processor.pad_token_id is not None else 0)
    labels, _ = padded(rows, IGNORED)
    for row, example in zip(labels, examples, strict=True):
        row[: int(example["context"])] = IGNORED
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def fixed(
    examples: "datasets.Dataset", processor: Any, point: OperatingPoint, count: int, seed: int
) -> list[dict[str, "torch.Tensor"]]:
    """Return `count` batches of exactly [batch_size, sequence_length] of the examples' tokens, without labels."""
    return packed(examples["input_ids"], processor, point, count, seed)


def aligned(logits: "torch.Tensor", labels: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return logits [batch, length - 1, vocabulary], and the next tokens [batch, length - 1] as labels."""
    return logits[:, :-1], labels[:, 1:]


def losses(logits: "torch.Tensor", labels: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return [batch] nll (nats, summed) and [batch] counts of predicted tokens, float64.

    It works row by row: with a large vocabulary, a batch's logits take gigabytes, and the loss would copy them twice.
    """
    import torch
    from torch.nn.functional import cross_entropy

    logits, labels = aligned(logits, labels)
    nll = [
        cross_entropy(row.float(), label, ignore_index=IGNORED, reduction="none").double().sum()
        for row, label in zip(logits, labels, strict=True)
    ]
    return torch.stack(nll), (labels != IGNORED).sum(dim=1).double()


def outcomes(logits: "torch.Tensor", batch: Batch) -> dict[str, list[float]]:
    """Return summed nll (nats) and number of predicted tokens of each window."""
    nll, tokens = losses(logits, batch["labels"])
    return {"nll": nll.tolist(), "tokens": tokens.tolist()}


def answers(outcomes: Outcomes, examples: "datasets.Dataset") -> Outcomes:
    """Return the outcomes with the bytes of each window's predicted text, and with its dense tokens if they differ."""
    sizes = [float(count) for count in examples["bytes"]]
    if "rows" not in examples.column_names:
        return {**outcomes, "bytes": sizes}
    ends = [0, *accumulate(map(len, examples["rows"]))]
    nll = [math.fsum(outcomes["nll"][start:end]) for start, end in pairwise(ends)]
    return {"nll": nll, **texts.dense_tokens(examples), "bytes": sizes}


def protocol(workload: WorkloadView) -> str:
    """Return the windows in which text is scored."""
    if workload.windows == "blocks":
        return f"blocks of {workload.max_length} tokens"
    return f"windows of {workload.max_length} tokens, stride {workload.stride}"


TASK = Task(
    name="causal-lm",
    auto_model="AutoModelForCausalLM",
    auto_processor="AutoTokenizer",
    architectures=("ForCausalLM", "LMHeadModel"),
    pipeline_tag="text-generation",
    columns=(TEXT,),
    metric="perplexity",
    sample_outcomes={"nll": [2.0, 3.0], "tokens": [2, 3], "bytes": [7, 9]},
    headline=OperatingPoint(batch_size=1, sequence_length=64, phase="decode", new_tokens=NEW_TOKENS),
    first_recipe="llama_int8",
    call='model.generate(**processor("a beginning", return_tensors="pt"))',
    load_processor=texts.load_processor,
    check=check,
    prepare=prepare,
    prepare_like=prepare_like,
    collate=collate,
    fixed=fixed,
    outcomes=outcomes,
    losses=losses,
    lengths=texts.lengths,
    made_up=texts.made_up,
    aligned=aligned,
    generates=True,
    joins_rows=True,
    per_token=True,
    has_labels=False,
    rows=rows_of,
    answers=answers,
    settings=("windows", "stride"),
    protocol=protocol,
)
