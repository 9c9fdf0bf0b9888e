"""Exported graphs, each compared with its model before further use.

    model --export--> graph
      |                 |
      +-- real batches -+--> two sets of logits, whose largest difference is at most 1e-3 of their spread

The batches differ from the traced one in size and length: the longest of some examples alone, then three examples
padded to one length. They contain the tokenizer's inputs; the graph takes these and no others. An export that ignores
an input, fills one with another value, or fixes a size fails here, with the runtime that will execute it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from compress.base.config import InputError
from compress.data import live
from compress.data.tasks import task_of
from compress.model.agreement import NONE, TOLERANCES, Agreement
from compress.model.bundle import Bundle
from compress.model.outputs import logits_of
from compress.model.runtimes.graph import GraphModel, OnnxModel
from compress.model.runtimes.onnx import exported

if TYPE_CHECKING:
    from compress.model.runtimes.stateful import StatefulModel

SAMPLE = 16
"""Number of examples from which the batches are taken."""
PARTS = (0.5, 1.0, 0.75)
"""Share of its tokens that each row of the padded batch keeps: rows of one length would need no padding."""
MOST_TOKENS = 256
"""Most tokens in a row of the padded batch: three rows of a language model's logits may fill the memory."""
MOST_NATS = 0.05
"""Largest mean KL divergence of llama.cpp's predictions from the artifact's. SmolLM2-135M with Q8_0 and Q4_0 weights
showed 0.003 nats over 512 tokens of WikiText-2, 0.17 at a single token; a wrong order of rows gives several nats."""
Batch = Mapping[str, torch.Tensor]


def checked(bundle: Bundle, runtime: str) -> OnnxModel:
    """Return the bundle's model as an ONNX graph, verified to match the model under `runtime`.

    Raises InputError for a model that cannot be exported, and for a graph that does not match.
    """
    batches = check_batches(bundle)
    device = torch.device("cpu") if runtime == "openvino" else bundle.device
    graph = exported(bundle.model, batches[0], "onnxruntime" if runtime == "openvino" else runtime, device)
    place = f"{runtime}: {type(bundle.model).__name__}{origin(bundle)}"
    refuse(compared(bundle, _opened(graph, runtime), batches, device, place), graph.dtype, place)
    return graph


def checked_with_cache(bundle: Bundle) -> "StatefulModel":
    """Return a language model as an OpenVINO graph with a cache, verified to match the model.

    Whole texts are compared, and tokens that follow a prompt one by one. Raises InputError like `checked`.
    """
    from compress.model.runtimes.openvino import saved
    from compress.model.runtimes.stateful import StatefulModel
    from compress.model.runtimes.stateful_export import exported as with_states

    model, place = bundle.model, f"openvino: {type(bundle.model).__name__}{origin(bundle)}"
    if half := {p.dtype for p in model.parameters()} - {torch.float32}:
        types = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in half))
        raise InputError(f"{place} holds {types}; expected float32; remove the cast step, or use runtime eager")
    graph: StatefulModel = saved(with_states(model.cpu().eval()), model.config, StatefulModel)
    exact = StatefulModel(graph.path, model.config, exact=True)
    refuse(agreement_with_cache(bundle, exact, place), torch.float32, place)
    return graph


def agreement_with_cache(bundle: Bundle, runtime: Any, place: str) -> Agreement:
    """Return the agreement of a model and a runtime with a cache, over whole texts and tokens one by one.

    `runtime` is a graph that appends tokens. Raises InputError if it fails on a batch.
    """
    batches, device = check_batches(bundle), torch.device("cpu")
    result = compared(bundle, runtime, batches, device, place)
    ids = batches[0]["input_ids"][:, :MOST_TOKENS]
    (expected,) = answers(bundle.model, [{"input_ids": ids}], device)
    if (start := ids.shape[1] // 2) > 0:
        runtime.prefill(ids[:, :start])
        steps = [runtime.append(ids[:, i : i + 1]) for i in range(start, ids.shape[1])]
        result = result.joined(expected[:, start:], torch.cat(steps, dim=1))
    return result


def rounded_inputs(bundle: Bundle, graph: GraphModel) -> str | None:
    """Return a note on products that round their inputs to 8 bits, with the change of the logits; None without any.

    OpenVINO does so by default where a product's weight is stored in integers and the CPU has products of integers.
    """
    if graph.kind != "openvino":
        return None
    from compress.model.runtimes.openvino import OpenVinoModel

    assert isinstance(graph, OpenVinoModel)
    if not (size := graph.input_group):
        return None
    found = graph.rounding(check_batches(bundle)[0])
    if found.difference <= found.most(TOLERANCES[torch.float32]):
        return None
    return (
        f"openvino rounds the inputs of products with integer weights to 8 bits, in groups of {size}, its default on "
        f"this CPU: logits differ from those without by up to {found.difference:.2g} at a spread of "
        f"{found.spread:.2g}; every figure includes it"
    )


def refuse(result: Agreement, dtype: torch.dtype, place: str) -> None:
    """Raise InputError for a graph whose logits differ from its model's."""
    most = result.most(TOLERANCES[dtype])
    if not result.difference <= most:
        raise InputError(
            f"{place}: the exported graph differs from the model: logits differ by up to "
            f"{result.difference:.3g} at a spread of {result.spread:.3g}; expected at most {most:.3g}; use runtime "
            "eager or compile"
        )


def compare_predictions(bundle: Bundle, runtime: Any, place: str, layers: int) -> None:
    """Raise InputError if a runtime that rounds inputs of its `layers` quantized products predicts otherwise."""
    batches = check_batches(bundle)
    divergences = []
    for batch, expected in zip(batches, answers(bundle.model, batches, torch.device("cpu")), strict=True):
        kept = batch["attention_mask"].bool()
        divergences.append(divergence(expected[kept], runtime(**batch).logits[kept]))
    mean = float(torch.cat(divergences).mean())
    if not mean <= MOST_NATS:
        raise InputError(
            f"{place}: the {layers} quantized layers differ from the model's: predictions diverge by {mean:.3g} nats "
            f"on average; expected at most {MOST_NATS}; use runtime openvino"
        )


def divergence(expected: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Return the Kullback-Leibler divergence of every row of logits [rows, vocabulary], in nats."""
    ours, theirs = expected.float().log_softmax(-1), logits.float().log_softmax(-1)
    return (ours.exp() * (ours - theirs)).sum(-1)


def check_batches(bundle: Bundle) -> list[dict[str, torch.Tensor]]:
    """Return two batches, without labels, of the workload's or synthetic examples; see the module's docstring."""
    examples = _examples(bundle)
    task = task_of(bundle.task)
    rows = [examples[i] for i in range(min(SAMPLE, len(examples)))]
    lengths = task.lengths(examples)
    by_length = sorted(range(len(rows)), key=lengths.__getitem__)
    several = [by_length[i * (len(rows) - 1) // (len(PARTS) - 1)] for i in range(len(PARTS))]
    padded = [_cut(rows[i], share) for i, share in zip(several, PARTS, strict=True)]
    padded = padded if task.alike is None else task.alike(padded)
    both = [task.collate(chosen, bundle.processor) for chosen in ([rows[by_length[-1]]], padded)]
    return [{name: value for name, value in batch.items() if name != "labels"} for batch in both]


def _cut(row: Mapping[str, Any], share: float) -> dict[str, Any]:
    """Return an example with a share of its tokens; images stay whole."""
    count = len(row.get("input_ids", ()))
    kept = min(MOST_TOKENS, max(2, round(share * count)))
    return {n: v[:kept] if isinstance(v, list) and count and len(v) == count else v for n, v in row.items()}


def _examples(bundle: Bundle) -> Any:
    """Return prepared examples: the workload's, the training set's, or synthetic ones."""
    if bundle.examples is not None:
        return bundle.examples(SAMPLE)
    if bundle.train is not None:
        return bundle.train()
    return live.prepare(task_of(bundle.task).made_up(), bundle.task, bundle.processor, bundle.model)


def origin(bundle: Bundle) -> str:
    """Return the model's origin after a space; empty for one made in this process."""
    name = bundle.workload.model if bundle.workload else getattr(bundle.model.config, "name_or_path", "")
    return f" {name}" if name else ""


def _opened(graph: OnnxModel, runtime: str) -> GraphModel:
    """Open the graph under the runtime that will execute it, with all products in the graph's own precision.

    OpenVINO computes in fp32 here, even where it prefers bf16: bf16's tolerance would hide a wrong graph. TensorRT
    would build an engine for minutes: the same file runs under onnxruntime on the same device.
    """
    if runtime == "openvino":
        from compress.model.runtimes.openvino import OpenVinoModel

        return OpenVinoModel(graph.path, graph.config, exact=True)
    return OnnxModel(graph.path, graph.config, place=replace(graph.place, runtime="onnxruntime"))


def compared(
    bundle: Bundle, graph: GraphModel, batches: Sequence[Batch], device: torch.device, place: str
) -> Agreement:
    """Return the agreement of model and graph over all batches. Raises InputError if the graph fails on one."""
    agreement = NONE
    for batch, expected in zip(batches, answers(bundle.model, batches, device), strict=True):
        inputs = {name: value.to(device) for name, value in batch.items()}
        try:
            logits = logits_of(graph(**inputs)).float().cpu()
        except (InputError, MemoryError):
            raise
        except Exception as error:  # the runtimes' own errors share no other base class
            shape = list(next(iter(batch.values())).shape)
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(
                f"{place}: the exported graph fails on a batch of {shape} ({reason}); use runtime eager or compile"
            ) from error
        if task_of(bundle.task).per_token and "attention_mask" in batch:  # logits of padding mean nothing
            kept = batch["attention_mask"].bool()
            agreement = agreement.joined(expected[kept], logits[kept])
        else:
            agreement = agreement.joined(expected, logits)
    return agreement


def answers(model: Any, batches: Sequence[Batch], device: torch.device) -> Iterator[torch.Tensor]:
    """Yield the model's logits of each batch, in fp32 on the CPU, in eval mode; the model ends on the CPU."""
    training = model.training
    model.to(device).eval()
    try:
        for batch in batches:
            with torch.no_grad():
                output = model(**{name: value.to(device) for name, value in batch.items()})
                yield logits_of(output).float().cpu()
    finally:
        model.cpu().train(training)
