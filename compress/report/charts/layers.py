"""What every layer became, from the artifact: bytes as bars, and in words bits, rank, sparsity or shape.

Bytes are those in the artifact's safetensors file, read from its header alone. A graph (onnxruntime, OpenVINO) keeps
its tensors under names of its own, so there the bars are bits a weight.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.base.config import InputError, is_index
from compress.records.layer_map import header
from compress.report.card import measured_manifest
from compress.report.charts import Source, canvas
from compress.report.text import plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_ROWS = 60
"""Layers that a picture names; of larger models it shows the largest and sums up the others."""
KINDS = (
    ("fewer bits", canvas.BLUE),
    ("low rank", canvas.VERMILLION),
    ("zeros", canvas.GREEN),
    ("narrower", canvas.ORANGE),
    ("changed otherwise", canvas.PURPLE),
    ("unchanged", "#bbbbbb"),
)
KIND_OF = {"rank": "low rank", "bits": "fewer bits", "sparsity": "zeros", "shape": "narrower"}
"""What the manifest says of a layer -> its kind; the first that holds."""


@dataclass(frozen=True)
class Layer:
    """One row of the picture."""

    name: str
    size: float
    """Bytes, or bits a weight."""
    kind: str
    words: str


def draw(sources: Sequence[Source]) -> "Figure":
    """Bars of one result's layers, in the model's order."""
    if len(sources) != 1:
        raise InputError(f"--kind layers: {len(sources)} results given; expected one")
    (source,) = sources
    found, in_bytes = layers(source)
    shown = _largest(found) if in_bytes else found[:MOST_ROWS]
    figure = canvas.new_figure(9, 1.5 + 0.19 * len(shown))
    (plot,) = canvas.axes(figure, left=2.9, top=0.7)
    size = 1e3 if max(layer.size for layer in shown) < 1e6 else 1e6
    scale, unit = (size, "kB" if size == 1e3 else "MB") if in_bytes else (1, "bits a weight")
    for kind, colour in KINDS:
        mine = [(row, layer.size / scale) for row, layer in enumerate(shown) if layer.kind == kind]
        if mine:
            plot.barh([row for row, _ in mine], [each for _, each in mine], color=colour, label=kind, height=0.7)
    longest = max(layer.size for layer in shown) / scale
    for row, layer in enumerate(shown):
        plot.text(
            layer.size / scale + 0.01 * longest, row, plain(layer.words), va="center", fontsize=7, parse_math=False
        )
    plot.set_yticks(range(len(shown)), [plain(_short(layer.name)) for layer in shown], fontsize=7, parse_math=False)
    plot.set_ylim(len(shown) - 0.4, -0.6)
    plot.set_xlim(0, 1.4 * longest)
    plot.grid(axis="y", visible=False)
    left_out = f"; {len(found) - len(shown)} more are not shown" if not in_bytes and len(found) > len(shown) else ""
    title = f"{source.name} on {source.result.workload.get('name')}: what every layer became{left_out}"
    canvas.titled(plot, plain(title), f"stored, {unit}" if in_bytes else unit, "")
    canvas.legend(plot, 5)
    return figure


def layers(source: Source) -> tuple[list[Layer], bool]:
    """Every weight layer in the model's order, and whether sizes are bytes.

    Raises InputError where the artifact is not there, is another, or changed nothing that can be shown.
    """
    folder = _folder(source)
    manifest = measured_manifest(source.result, folder)
    became: Mapping[str, Mapping[str, Any]] = {name: e for name, e in manifest["layers"].items() if name}
    sizes: dict[str, int] = {}
    for name in sorted(manifest["files"]):
        if name.endswith(".safetensors"):
            for tensor, (_, stored) in _header(folder / name).items():
                owner = _owner(tensor, became)
                sizes[owner] = sizes.get(owner, 0) + stored
    if sizes:
        names = [*sizes, *(name for name in became if name not in sizes)]
        order = sorted(names, key=_natural)
        return [Layer(n, sizes.get(n, 0), *_became(became.get(n))) for n in order], True
    if not became:
        raise InputError(f"{folder}: its manifest says of no single layer what it became; there is nothing to draw")
    bits = [(n, became[n].get("bits")) for n in sorted(became, key=_natural)]
    if not any(bits_ for _, bits_ in bits):
        raise InputError(f"{folder}: a graph without bytes or bits a layer; there is nothing to draw")
    return [Layer(n, float(b or 0), *_became(became[n])) for n, b in bits], False


def _folder(source: Source) -> Path:
    """Where the artifact is: as the result says from here, or from the folder that `results` is in."""
    said = source.result.artifact
    if said is None:
        raise InputError(f"{source.path}: its artifact was not kept; run the recipe again with --keep")
    beside = source.path.resolve().parent.parent.parent / said
    return Path(said) if Path(said).is_dir() or not beside.is_dir() else beside


def _header(file: Path) -> Mapping[str, tuple[tuple[int, ...], int]]:
    """Tensor -> shape and bytes. Raises InputError for a file that does not begin so."""
    try:
        return header(file)
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise InputError(f"{file}: cannot be read ({error}); make the artifact again") from None


def _owner(tensor: str, became: Mapping[str, Any]) -> str:
    """The layer that a tensor belongs to: the changed one it lies under, or else its module."""
    parts = tensor.split(".")
    prefixes = (".".join(parts[:count]) for count in range(len(parts) - 1, 0, -1))
    return next((prefix for prefix in prefixes if prefix in became), ".".join(parts[:-1]) or tensor)


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sorts layer 10 after layer 9, and embeddings before what follows them."""
    first = 0 if "embed" in name else 2 if name.startswith(("classifier", "lm_head", "score")) else 1
    parts = [(0, int(part), "") if is_index(part) else (1, 0, part) for part in name.split(".")]
    return [(first, 0, ""), *parts]


def _became(entry: Mapping[str, Any] | None) -> tuple[str, str]:
    """Kind and words of what the manifest says of a layer."""
    if not entry:
        return "unchanged", ""
    words = []
    if "format" in entry:
        words.append(str(entry["format"]))
    if entry.get("bits"):
        words.append(f"{entry['bits']} bits")
    if entry.get("group_size"):
        words.append(f"groups of {entry['group_size']}")
    if entry.get("rank"):
        words.append(f"rank {entry['rank']}")
    if entry.get("sparsity"):
        words.append(f"{100 * float(entry['sparsity']):.0f} % zeros")
    if entry.get("shape"):
        words.append("x".join(str(n) for n in entry["shape"]))
    if entry.get("dtype"):
        words.append(str(entry["dtype"]))
    kind = next((kind for key, kind in KIND_OF.items() if entry.get(key)), "changed otherwise")
    return kind, ", ".join(words) or ", ".join(f"{k} {v}" for k, v in entry.items())


def _short(name: str) -> str:
    return name if len(name) <= 48 else f"…{name[-47:]}"


def _largest(found: Sequence[Layer]) -> list[Layer]:
    """All of them, or the largest in the model's order and one row for the others."""
    if len(found) <= MOST_ROWS:
        return list(found)
    kept = {layer.name for layer in sorted(found, key=lambda layer: -layer.size)[: MOST_ROWS - 1]}
    rest = [layer for layer in found if layer.name not in kept]
    others = Layer(f"{len(rest)} smaller layers", sum(layer.size for layer in rest), "unchanged", "together")
    return [*(layer for layer in found if layer.name in kept), others]
