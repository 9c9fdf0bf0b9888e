"""Low rank: a weight [out, in] becomes A [out, r] @ B [r, in], its best rank-r approximation (truncated SVD).

Eckart and Young 1936; `compress.methods.lowrank.weighting` holds the error measures. It saves parameters only below
this rank:

    r * (out + in) < out * in      =>      r < out * in / (out + in)

With grouping, query, key and value are one weight [3 out, in], and B is computed once for all three:

    [Wq; Wk; Wv] = [Aq; Ak; Av] @ B      pays below 3 out * in / (3 out + in)

A convolution is read as a matrix (`compress.model.convolutions`), and its two factors become two convolutions. Grouped
and depthwise ones stay dense, as does one that would save nothing.

Ranks that follow from a budget or a spectrum are multiples of 16, or of a smaller power of two for small ranks. Tensor
cores and vector units are slow with odd widths, and low-bit products need multiples of 8 or 16.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from compress.base.config import InputError
from compress.base.console import track
from compress.methods.calibrate import drawn, gradients
from compress.methods.capture import Inputs, walk
from compress.methods.layerwise import change_layers
from compress.methods.lowrank import weighting
from compress.methods.lowrank.factors import aligned, break_even, cut, no_saving, rank_of_energy, singular_values, split
from compress.methods.lowrank.weighting import Weighting
from compress.model.architectures import projections
from compress.model.bundle import Bundle
from compress.model.convolutions import (
    CONVOLUTIONS,
    LowRankConvolution,
    as_matrix,
    convolutions,
    factorable,
    matrix_shape,
    unfactorable,
)
from compress.model.layers import Borrowing, LowRankLinear, matrix, weight_layers
from compress.model.sharing import swap, tied_problem
from compress.spec.steps import LowRank


def lowrank(bundle: Bundle, config: LowRank) -> Bundle:
    """Return the bundle with every chosen linear layer and convolution replaced by two thin ones.

    Raises InputError, before anything changes, for a rank that saves nothing and for a tied weight.
    """
    chosen, groups = choose(bundle.model, config)
    left_out = _left_out(bundle.model, config)
    shared = _shared_ranks(bundle, config, chosen) if config.allocation == "shared" else {}
    weigh = _weighting(bundle, config, chosen, groups)
    group_of = {name: group for group in groups for name in group}  # all layers of a group have the same inputs

    def change(name: str, inputs: Inputs | None) -> dict[str, Any]:
        """Factorize the group that a layer is the first of; return its rank, and the rank that saves nothing."""
        group = group_of[name]
        if name != group[0]:
            return {"borrows": group[0]}
        modules = [chosen[member] for member in group]
        weight = torch.cat([read(module, config) for module in modules])  # [out, in]
        limit = break_even(*weight.shape)
        weighted = weigh(group, inputs)
        factors = split(weighted.applied(weight))
        rank = shared[name] if shared else _rank(config, weight, factors[1])
        if rank < limit:
            _put(bundle.model, group, modules, weighted.undone(*cut(factors, rank)), config)
        return {"rank": rank, "limit": limit}

    step = f"lowrank weighting {config.weighting}"
    sample = config.sample if config.weighting in ("activation", "whitened") else None
    records = change_layers(bundle, step, sample, chosen, change, "low rank")
    layers: dict[str, dict[str, Any]] = {}
    dense: list[str] = []
    for first, *others in groups:
        rank, limit = records[first]["rank"], records[first]["limit"]
        if rank >= limit:
            dense.append(f"{first} (rank {rank}, saves below {limit:.1f})")
            continue
        layers[first] = {"kind": "lowrank", "rank": rank}
        if isinstance(chosen[first], CONVOLUTIONS):
            layers[first]["decomposition"] = config.decomposition
        layers |= {name: {"kind": "lowrank", "rank": rank, "borrows": first} for name in others}
    if not layers:
        raise InputError(
            f"lowrank energy {config.energy}: no layer reaches it at a rank that saves parameters; first of "
            f"{len(dense)}: {dense[0]}; use a lower energy"
        )
    plain = config.weighting == "plain"
    by = "" if plain else f", {config.weighting} from {drawn(bundle, step, config.sample)} examples"
    notes = [f"lowrank: {len(layers)} layers of rank {_span([e['rank'] for e in layers.values()])}{by}"]
    for reason, names in left_out.items():
        notes.append(f"lowrank: {len(names)} convolutions stay dense, first {names[0]}: {reason}")
    if dense:
        notes.append(f"lowrank: {len(dense)} layers stay dense, as their rank saves nothing: {', '.join(dense[:3])}")
    return bundle.changed(bundle.model, layers, *notes)


def _left_out(model: nn.Module, config: LowRank) -> dict[str, list[str]]:
    """Return the convolutions that the step chooses by name and does not change, by reason, before it changes others.

    Halves of convolutions that are thin already do not count.
    """
    thin = {id(half) for m in model.modules() if isinstance(m, LowRankConvolution) for half in m.children()}
    kept = f"parameters {config.kept_parameters} is less than rank 1"
    small = kept if config.rank is None else f"rank {config.rank} saves nothing"
    by_reason: dict[str, list[str]] = {}
    for name, module in convolutions(model, config).items():
        reason = unfactorable(module) or (small if _no_saving(shape_of(module, config), config) else None)
        if reason is not None and id(module) not in thin:
            by_reason.setdefault(reason, []).append(name)
    return by_reason


def choose(model: nn.Module, config: LowRank) -> "tuple[dict[str, nn.Module], list[Group]]":
    """Return the chosen layers by name, and their groups. Raises InputError if a rank saves nothing."""
    convolved = {n: m for n, m in factorable(model, config).items() if not _no_saving(shape_of(m, config), config)}
    found = {**dict(weight_layers(model, config, convolved)), **convolved}
    chosen = {name: found[name] for name, _ in model.named_modules() if name in found}  # in order: blocks see changes
    groups = groups_of(model, config, chosen)
    problems = [p for group in groups for p in _problems(group, chosen, model, config)]
    if problems:
        raise InputError(problems)
    return chosen, groups


def rehearse(model: nn.Module, config: LowRank) -> bool:
    """Replace layers of an empty model as `lowrank` would, and return whether the ranks are known in advance."""
    chosen, groups = choose(model, config)
    for group in groups:
        modules = [chosen[name] for name in group]
        rows, columns = _shape_of_group(modules, config)
        kept = config.kept_parameters or 0.5  # for energy: any rank will do, the real one depends on the weights
        rank = config.rank or max(1, aligned(int(kept * break_even(rows, columns))))
        if rank < break_even(rows, columns):
            dtype = matrix(modules[0]).dtype
            left = torch.empty(rows, rank, dtype=dtype, device="meta")
            right = torch.empty(rank, columns, dtype=dtype, device="meta")
            _put(model, group, modules, (left, right), config)
    return config.energy is None and config.allocation == "uniform"


def read(module: nn.Module, config: LowRank) -> torch.Tensor:
    """Return a layer's weight as the matrix that becomes a product of two."""
    return as_matrix(module, config.decomposition) if isinstance(module, CONVOLUTIONS) else matrix(module)


def shape_of(module: nn.Module, config: LowRank) -> tuple[int, int]:
    """Return the shape of `read`, without a copy of the weight."""
    if isinstance(module, CONVOLUTIONS):
        return matrix_shape(module, config.decomposition)
    rows, columns = matrix(module).shape
    return rows, columns


def _shape_of_group(modules: Sequence[nn.Module], config: LowRank) -> tuple[int, int]:
    """Return the shape of the weight of these layers, whose rows are concatenated."""
    shapes = [shape_of(module, config) for module in modules]
    return sum(rows for rows, _ in shapes), shapes[0][1]


Group = tuple[str, ...]
"""Names of layers that are factorized as one weight, with their rows concatenated. Usually a single layer."""


def groups_of(model: Any, config: LowRank, names: Collection[str]) -> list[Group]:
    """Return the chosen layers in order, grouped. Raises InputError if grouping does not support the architecture."""
    return projections(model, names, "lowrank grouped") if config.grouped else [(name,) for name in names]


def _weighting(
    bundle: Bundle, config: LowRank, chosen: Mapping[str, nn.Module], groups: Sequence[Group]
) -> Callable[[Group, Inputs | None], Weighting]:
    """Return the function that gives a group its weighting, from the statistics of its inputs."""
    if config.weighting == "fisher":
        examples = gradients(bundle, "lowrank weighting fisher", config.sample, batch_size=1)
        squares = weighting.squared_gradients(chosen, examples)
        return lambda group, _: weighting.fisher(torch.cat([squares[name] for name in group]))
    make = weighting.activation if config.weighting == "activation" else weighting.whitened
    return lambda _, inputs: Weighting() if inputs is None else make(inputs)


def _shared_ranks(bundle: Bundle, config: LowRank, chosen: Mapping[str, nn.Module]) -> dict[str, int]:
    """Return the rank of every layer when all share one parameter budget, spent where a component saves most loss."""
    assert config.kept_parameters is not None
    examples = gradients(bundle, "lowrank allocation shared", config.sample, batch_size=1)
    sensitivities = weighting.output_sensitivities(chosen, examples)
    spectra = {}
    statistics = walk(bundle, f"lowrank weighting {config.weighting}", config.sample, chosen)
    for name, inputs in track(statistics, "ranks", len(chosen)):
        weighted = Weighting() if inputs is None else weighting.whitened(inputs)
        weight = read(chosen[name], config)
        losses = singular_values(weighted.applied(weight)).square() * sensitivities[name]
        spectra[name] = (losses, tuple(weight.shape))
    return share(spectra, config.kept_parameters)


def share(spectra: Mapping[str, tuple[torch.Tensor, Sequence[int]]], kept: float) -> dict[str, int]:
    """Return ranks that hold at most `kept` of all parameters.

    `spectra` maps each name to (loss saved by each component, shape). Components are taken by loss saved per parameter,
    largest first; every layer gets at least one. A layer whose rank would save nothing stays dense, at its dense cost.
    """
    candidates = []
    for name, (losses, (rows, columns)) in spectra.items():
        candidates += [(float(value) / (rows + columns), name) for value in losses[1:].tolist()]
    budget = kept * sum(rows * columns for _, (rows, columns) in spectra.values())
    ranks = dict.fromkeys(spectra, 1)
    spent = float(sum(sum(shape) for _, shape in spectra.values()))
    for _, name in sorted(candidates, key=lambda pair: -pair[0]):
        rows, columns = spectra[name][1]
        cost = _price(ranks[name] + 1, rows, columns) - _price(ranks[name], rows, columns)
        if spent + cost <= budget:
            ranks[name] += 1
            spent += cost
    return {name: rank if rank >= break_even(*spectra[name][1]) else aligned(rank) for name, rank in ranks.items()}


def _price(rank: int, rows: int, columns: int) -> int:
    """Return the parameters of a layer at this rank, at most those of the dense weight."""
    return min(rank * (rows + columns), rows * columns)


def _rank(config: LowRank, weight: torch.Tensor, singular: torch.Tensor) -> int:
    if config.rank is not None:
        return config.rank
    if config.energy is not None:
        rank = rank_of_energy(singular, config.energy)
        rounded_up = aligned(rank, up=True)
        return rounded_up if rounded_up < break_even(*weight.shape) else rank  # an odd rank still beats a dense layer
    assert config.kept_parameters is not None
    return aligned(int(config.kept_parameters * break_even(*weight.shape)))


def _problems(group: Group, chosen: Mapping[str, nn.Module], model: nn.Module, config: LowRank) -> list[str]:
    """Return why this group cannot be factorized as configured: at most one sentence."""
    name = group[0]
    if tied := tied_problem(model, chosen[name], name, "lowrank"):
        return [tied]
    problem = _no_saving(_shape_of_group([chosen[member] for member in group], config), config)
    return [f"{name}: {problem}, or exclude the layer"] if problem else []


def _no_saving(shape: tuple[int, int], config: LowRank) -> str | None:
    """Return why a weight [out, in] cannot have the rank that the settings ask for, or saves nothing at it."""
    return no_saving(*shape, config.rank, config.kept_parameters)


def _put(
    model: nn.Module,
    group: Group,
    modules: Sequence[nn.Module],
    factors: tuple[torch.Tensor, torch.Tensor],
    config: LowRank,
) -> None:
    """Replace a group's layers by low-rank ones; the first one holds the shared factor."""
    left, right = factors  # [rows of all layers, r], [r, in]
    if isinstance(modules[0], CONVOLUTIONS):
        swap(model, group[0], LowRankConvolution.of(modules[0], left, right, config.decomposition))
        return
    parts = left.split([matrix(module).shape[0] for module in modules])
    lender = _thin(modules[0], parts[0], right)
    swap(model, group[0], lender)
    for name, module, part in zip(group[1:], modules[1:], parts[1:], strict=True):
        swap(model, name, Borrowing(lender, _thin(module, part, right).second).train(module.training))


def _thin(module: nn.Module, left: torch.Tensor, right: torch.Tensor) -> LowRankLinear:
    """Return a low-rank layer with factors [out, r] and [r, in], and the dense layer's bias, dtype and device."""
    weight = matrix(module)
    bias = module.bias
    thin = LowRankLinear(
        weight.shape[1], weight.shape[0], left.shape[1], bias=bias is not None, device=weight.device, dtype=weight.dtype
    )
    with torch.no_grad():
        thin.first.weight.copy_(right)
        thin.second.weight.copy_(left)
        if isinstance(bias, torch.Tensor):
            thin.second.bias.copy_(bias)
    return thin.train(module.training)


def _span(values: list[int]) -> str:
    return str(values[0]) if min(values) == max(values) else f"{min(values)} to {max(values)}"
