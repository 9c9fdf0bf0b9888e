"""Exported graphs, each compared with its model before anything is made of it.

    model --export--> graph
      |                 |
      +-- real batches -+--> two sets of logits, whose largest difference is at most 1e-3 of their spread

The batches differ from the traced one in size and length: the longest of some examples alone, then three examples
padded to one length. They hold the inputs that the tokenizer gives; the graph takes these and no others. An export that
ignores an input, fills one with another value, or fixes a size fails here, with the runtime that will execute it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from compress.base.config import InputError
from compress.data import live
from compress.data.tasks import task_of
from compress.model.bundle import Bundle
from compress.model.runtimes.graph import GraphModel, OnnxModel
from compress.model.runtimes.onnx import exported

SAMPLE = 16
"""Examples from which the batches are taken."""
PARTS = (0.5, 1.0, 0.75)
"""Share of its tokens that each row of the padded batch keeps: rows of one length would need no padding."""
MOST_TOKENS = 256
"""A row of the padded batch has at most so many tokens: three rows of a language model's logits may fill the memory."""
TOLERANCES: dict[torch.dtype, float] = {torch.float32: 1e-3, torch.float16: 2e-2}
"""Largest difference of logits over their spread, per precision; fp16 has 11 bits, and each layer rounds anew."""
ROUNDING = 1e-2
"""Part of the tolerance that is allowed relative to the largest logit, for models whose logits hardly differ."""

Batch = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Agreement:
    """How far two sets of logits are apart."""

    difference: float
    """The largest one; infinite where only one of both is finite."""
    lowest: float
    highest: float

    @property
    def spread(self) -> float:
        """Highest minus lowest logit of the model."""
        return self.highest - self.lowest

    def most(self, tolerance: float) -> float:
        """The largest difference that is allowed."""
        return tolerance * max(self.spread, ROUNDING * max(abs(self.lowest), abs(self.highest)))


def checked(bundle: Bundle, runtime: str) -> OnnxModel:
    """The bundle's model as an ONNX graph that answers like it under `runtime`.

    Raises InputError for a model that cannot be exported, and for a graph that answers otherwise.
    """
    batches = check_batches(bundle)
    device = torch.device("cpu") if runtime == "openvino" else bundle.device
    graph = exported(bundle.model, batches[0], "onnxruntime" if runtime == "openvino" else runtime, device)
    place = f"{runtime}: {type(bundle.model).__name__}{_name(bundle)}"
    found = _compared(bundle, _opened(graph, runtime), batches, device, place)
    most = found.most(TOLERANCES[graph.dtype])
    if not found.difference <= most:
        raise InputError(
            f"{place}: the exported graph answers otherwise than the model: logits differ by up to "
            f"{found.difference:.3g} at a spread of {found.spread:.3g}; expected at most {most:.3g}; take runtime "
            "eager or compile"
        )
    return graph


def check_batches(bundle: Bundle) -> list[dict[str, torch.Tensor]]:
    """Two batches of the workload's examples, or of made-up ones, without labels: see the head of this file."""
    examples = _examples(bundle)
    task = task_of(bundle.task)
    rows = [examples[i] for i in range(min(SAMPLE, len(examples)))]
    lengths = task.lengths(examples)
    by_length = sorted(range(len(rows)), key=lengths.__getitem__)
    several = [by_length[i * (len(rows) - 1) // (len(PARTS) - 1)] for i in range(len(PARTS))]
    padded = [_cut(rows[i], share) for i, share in zip(several, PARTS, strict=True)]
    both = [task.collate(each, bundle.processor) for each in ([rows[by_length[-1]]], padded)]
    return [{name: value for name, value in batch.items() if name != "labels"} for batch in both]


def _cut(row: Mapping[str, Any], share: float) -> dict[str, Any]:
    """An example with a share of its tokens; images stay."""
    count = len(row.get("input_ids", ()))
    kept = min(MOST_TOKENS, max(2, round(share * count)))
    return {n: v[:kept] if isinstance(v, list) and count and len(v) == count else v for n, v in row.items()}


def _examples(bundle: Bundle) -> Any:
    """Prepared examples: the workload's, those that train, or made-up ones."""
    if bundle.examples is not None:
        return bundle.examples(SAMPLE)
    if bundle.train is not None:
        return bundle.train()
    return live.prepare(task_of(bundle.task).made_up(), bundle.task, bundle.processor, bundle.model)


def _name(bundle: Bundle) -> str:
    """Where the model came from, after a space; empty for one that was made here."""
    name = bundle.workload.model if bundle.workload else getattr(bundle.model.config, "name_or_path", "")
    return f" {name}" if name else ""


def _opened(graph: OnnxModel, runtime: str) -> GraphModel:
    """The graph under the runtime that will execute it, all products in the graph's own precision.

    OpenVINO computes in fp32 here, also where it prefers bf16: its tolerance would hide a wrong graph. TensorRT would
    make an engine for minutes: the same file runs under onnxruntime on the same device.
    """
    if runtime == "openvino":
        from compress.model.runtimes.openvino import OpenVinoModel

        return OpenVinoModel(graph.path, graph.config, exact=True)
    return OnnxModel(graph.path, graph.config, place=replace(graph.place, runtime="onnxruntime"))


def _compared(
    bundle: Bundle, graph: GraphModel, batches: Sequence[Batch], device: torch.device, place: str
) -> Agreement:
    """The agreement of model and graph over all batches. Raises InputError for a graph that refuses one of them."""
    found = Agreement(0.0, float("inf"), float("-inf"))
    for batch, expected in zip(batches, _answers(bundle.model, batches, device), strict=True):
        given = {name: value.to(device) for name, value in batch.items()}
        try:
            answer = graph(**given).logits.float().cpu()
        except (InputError, MemoryError):
            raise
        except Exception as error:  # the runtimes' own errors have no other class in common
            shape = list(next(iter(batch.values())).shape)
            told = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(
                f"{place}: the exported graph fails on a batch of {shape} ({told}); take runtime eager or compile"
            ) from error
        if task_of(bundle.task).per_token and "attention_mask" in batch:  # logits of padding mean nothing
            kept = batch["attention_mask"].bool()
            found = _joined(found, expected[kept], answer[kept])
        else:
            found = _joined(found, expected, answer)
    return found


def _answers(model: Any, batches: Sequence[Batch], device: torch.device) -> Iterator[torch.Tensor]:
    """The model's logits of each batch, as fp32 on the CPU; it is in eval mode meanwhile, and ends on the CPU."""
    training = model.training
    model.to(device).eval()
    try:
        for batch in batches:
            with torch.no_grad():
                yield model(**{name: value.to(device) for name, value in batch.items()}).logits.float().cpu()
    finally:
        model.cpu().train(training)


def _joined(found: Agreement, expected: torch.Tensor, answer: torch.Tensor) -> Agreement:
    """The agreement so far with that of one more batch: logits of equal shape."""
    finite = torch.isfinite(expected)
    if expected.shape != answer.shape or not torch.equal(finite, torch.isfinite(answer)):
        return replace(found, difference=float("inf"))
    if not finite.any():
        return found
    known = expected[finite]
    return Agreement(
        max(found.difference, float((answer[finite] - known).abs().max())),
        min(found.lowest, float(known.min())),
        max(found.highest, float(known.max())),
    )
