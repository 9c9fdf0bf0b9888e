"""Single weights set to zero: a fraction of all, or two of every four in a row. Zeros are still stored and multiplied.

importance   score of a weight                          compared within         the other weights
magnitude    |w|                                        the whole layer         stay
wanda        |w| x norm of its input                    its row                 stay (arXiv:2306.11695)
sparsegpt    w^2 / U_jj^2, column by column             its block of columns    compensate (arXiv:2301.00774)

Under the pattern 2:4, each weight is compared only with the three others of its four.
"""

from typing import Any

import torch
from torch import nn

from compress.base.config import InputError
from compress.methods.capture import Inputs
from compress.methods.compensate import BLOCK, Choose, compensated
from compress.methods.layerwise import change_layers
from compress.model.bundle import Bundle
from compress.model.layers import Experts, matrix, stacked_experts, weight_layers
from compress.model.sharing import tied_embeddings
from compress.spec.steps import Prune

KEPT, OF = 2, 4


def unstructured(bundle: Bundle, config: Prune) -> Bundle:
    """Return the bundle with `fraction` of the weights of every chosen linear layer set to zero.

    Raises InputError, before anything changes, if the pattern does not fit a layer.
    """
    chosen, experts = choose(bundle.model, config)
    tied = {name: owners for name, module in chosen.items() if (owners := tied_embeddings(bundle.model, module))}

    def change(name: str, inputs: Inputs | None) -> dict[str, Any]:
        weight = matrix(chosen[name])  # [out, in]
        weight.copy_(_sparsified(weight, inputs, config))
        pattern = {} if config.pattern == "free" else {"pattern": config.pattern}
        return {"sparsity": round((weight == 0).float().mean().item(), 6), **pattern}

    def change_experts(name: str, _inputs: Inputs | None) -> dict[str, Any]:
        stack = experts[name]
        for weight in stack.matrices:  # [out, in], one expert at a time
            weight.copy_(_sparsified(weight, None, config))
        return {"sparsity": round((stack.matrices == 0).float().mean().item(), 6)}

    step, sample = f"prune importance {config.importance}", None if config.importance == "magnitude" else config.sample
    layers: dict[str, dict[str, Any]] = change_layers(bundle, step, sample, chosen, change, "prune")
    layers |= change_layers(bundle, step, None, experts, change_experts, "prune experts")
    amount = "2 of every 4" if config.pattern == "2:4" else f"{config.fraction:.0%}"
    note = (
        f"prune: {amount} of the weights of {len(layers)} layers set to zero by {config.importance}; zeros are still "
        "stored and multiplied"
    )
    if config.pattern != "free":
        note += "; sparse tensor cores (CUDA, Ampere or newer) skip them in fp16 and bf16: add a cast step last"
    notes = [note]
    for name, embeddings in tied.items():
        if name in layers:
            layers |= {each: {"sparsity": layers[name]["sparsity"]} for each in embeddings}
            those = "both" if len(embeddings) == 1 else "all"
            notes.append(f"prune: {name} and {', '.join(embeddings)} are tied and stay so: {those} have these zeros")
    if experts and config.importance != "magnitude":
        notes.append(
            f"prune: {len(experts)} stacks of experts are pruned by magnitude; {config.importance} is for linear layers"
        )
    return bundle.changed(bundle.model, layers, *notes)


def choose(model: nn.Module, config: Prune) -> tuple[dict[str, nn.Module], dict[str, Experts]]:
    """Return the chosen layers and stacks of experts by name. Raises InputError if the pattern does not fit one."""
    experts = stacked_experts(model, config)
    chosen = dict(weight_layers(model, config, experts))
    widths = {name: matrix(module).shape[1] for name, module in chosen.items()}
    widths |= {name: stack.matrices.shape[2] for name, stack in experts.items()}
    odd = [name for name, width in widths.items() if config.pattern == "2:4" and width % OF]
    if odd:
        raise InputError([f"{name}: {widths[name]} inputs, expected a multiple of 4; exclude it" for name in odd])
    return chosen, experts


def _sparsified(weight: torch.Tensor, inputs: Inputs | None, config: Prune) -> torch.Tensor:
    """Return the weight with its zeros; chosen by magnitude if the layer never ran."""
    if inputs is not None and config.importance == "sparsegpt":
        return compensated(weight, inputs.gram, sparse_columns(config.fraction, config.pattern == "2:4"))
    scores = weight.abs() if inputs is None else wanda_scores(weight, inputs.norms)
    if config.pattern == "2:4":
        return weight * two_of_four(scores)
    return weight * (mask(scores, config.fraction) if inputs is None else row_mask(scores, config.fraction))


def mask(scores: torch.Tensor, sparsity: float) -> torch.Tensor:
    """Return 0 for the `sparsity` of the weights with the least |score|, else 1; of equal ones the later stays."""
    order = torch.argsort(scores.abs().flatten(), stable=True)
    kept = torch.ones(scores.numel(), dtype=scores.dtype, device=scores.device)
    kept[order[: round(sparsity * scores.numel())]] = 0
    return kept.view_as(scores)


def row_mask(scores: torch.Tensor, sparsity: float) -> torch.Tensor:
    """Return the same mask within every row: each row loses equally many weights."""
    order = torch.argsort(scores, dim=1, stable=True)
    kept = torch.ones_like(scores)
    return kept.scatter_(1, order[:, : round(sparsity * scores.shape[1])], 0)


def two_of_four(scores: torch.Tensor) -> torch.Tensor:
    """Return 1 for the two highest of every four scores in a row, else 0; of equal ones the earlier stays."""
    fours = scores.reshape(-1, OF)
    best = torch.argsort(fours, dim=1, descending=True, stable=True)[:, :KEPT]
    return torch.zeros_like(fours).scatter_(1, best, 1).view_as(scores)


def wanda_scores(weight: torch.Tensor, norms: torch.Tensor) -> torch.Tensor:
    """Return |weight| [out, in] times the L2 norm [in] of each input feature over the calibration rows."""
    return weight.abs().float() * norms.float().to(weight.device)


def sparse_columns(fraction: float, two_four: bool) -> Choose:
    """Return SparseGPT's rule: the weights to remove from a block are chosen at its first column."""
    kept: dict[int, torch.Tensor] = {}

    def choose(current: torch.Tensor, diagonal: torch.Tensor, j: int) -> torch.Tensor:
        width = OF if two_four else BLOCK
        if j % width == 0:
            scores = current[:, j : j + width].square() / diagonal[j : j + width].square()
            block_mask = two_of_four(scores) if two_four else mask(scores, fraction)
            kept.update({j + i: block_mask[:, i] for i in range(block_mask.shape[1])})
        return current[:, j] * kept.pop(j)

    return choose
