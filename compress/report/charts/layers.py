"""Changes of every layer, from the artifact: bytes as bars, labelled with bits, rank, sparsity or shape.

Bytes are those in the artifact's safetensors files, read from their headers only. A graph (onnxruntime, OpenVINO) names
its tensors differently, so its bars are bits per weight.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.base.config import InputError, is_index
from compress.base.reading import is_folder
from compress.records.layer_map import header
from compress.report.card import measured_manifest
from compress.report.charts import Source, canvas
from compress.report.text import plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_ROWS = 60
"""Most layers in a chart. For larger models, it shows the largest and the sum of the others."""
KINDS = (
    ("fewer bits", canvas.BLUE),
    ("low rank", canvas.VERMILLION),
    ("zeros", canvas.GREEN),
    ("narrower", canvas.ORANGE),
    ("changed otherwise", canvas.PURPLE),
    ("unchanged", "#bbbbbb"),
)
KIND_OF = {"rank": "low rank", "bits": "fewer bits", "sparsity": "zeros", "shape": "narrower"}
"""Field of a layer in the manifest -> its kind; the first set field decides."""


@dataclass(frozen=True)
class Layer:
    """One row of the chart."""

    name: str
    size: float
    """Bytes, or bits per weight."""
    kind: str
    words: str


def draw(sources: Sequence[Source]) -> "Figure":
    """Draw bars of one result's layers, in the model's order."""
    if len(sources) != 1:
        raise InputError(f"--kind layers: {len(sources)} results given; expected one")
    (source,) = sources
    all_layers, in_bytes = layers(source)
    shown = _largest(all_layers) if in_bytes else all_layers[:MOST_ROWS]
    figure = canvas.new_figure(9, 1.5 + 0.19 * len(shown))
    (plot,) = canvas.axes(figure, left=2.9, top=0.7)
    size = 1e3 if max(layer.size for layer in shown) < 1e6 else 1e6
    scale, unit = (size, "kB" if size == 1e3 else "MB") if in_bytes else (1, "bits per weight")
    for kind, colour in KINDS:
        bars = [(row, layer.size / scale) for row, layer in enumerate(shown) if layer.kind == kind]
        if bars:
            plot.barh([row for row, _ in bars], [length for _, length in bars], color=colour, label=kind, height=0.7)
    longest = max(layer.size for layer in shown) / scale
    for row, layer in enumerate(shown):
        plot.text(
            layer.size / scale + 0.01 * longest, row, plain(layer.words), va="center", fontsize=7, parse_math=False
        )
    plot.set_yticks(range(len(shown)), [plain(_short(layer.name)) for layer in shown], fontsize=7, parse_math=False)
    plot.set_ylim(len(shown) - 0.4, -0.6)
    plot.set_xlim(0, 1.4 * longest)
    plot.grid(axis="y", visible=False)
    left_out = (
        f"; {len(all_layers) - len(shown)} more are not shown" if not in_bytes and len(all_layers) > len(shown) else ""
    )
    title = f"{source.name} on {source.result.workload.get('name')}: layers after compression{left_out}"
    canvas.titled(plot, plain(title), f"stored, {unit}" if in_bytes else unit, "")
    canvas.legend(plot, 5)
    return figure


def layers(source: Source) -> tuple[list[Layer], bool]:
    """Return every weight layer in the model's order, and whether sizes are bytes.

    Raises InputError if the artifact is missing, is another one, or records no changes that can be drawn.
    """
    folder = _folder(source)
    manifest = measured_manifest(source.result, folder)
    changes: Mapping[str, Mapping[str, Any]] = {name: e for name, e in manifest["layers"].items() if name}
    sizes: dict[str, int] = {}
    for name in sorted(manifest["files"]):
        if name.endswith(".safetensors"):
            for tensor, (_, stored) in _header(folder / name).items():
                owner = _owner(tensor, changes)
                sizes[owner] = sizes.get(owner, 0) + stored
    if sizes:
        names = [*sizes, *(name for name in changes if name not in sizes)]
        order = sorted(names, key=_natural)
        return [Layer(n, sizes.get(n, 0), *_change(changes.get(n))) for n in order], True
    if not changes:
        raise InputError(f"{folder}: its manifest records no per-layer changes; there is nothing to draw")
    bits = [(n, changes[n].get("bits")) for n in sorted(changes, key=_natural)]
    if not any(bits_ for _, bits_ in bits):
        raise InputError(f"{folder}: its graph records neither bytes nor bits per layer; there is nothing to draw")
    return [Layer(n, float(b or 0), *_change(changes[n])) for n, b in bits], False


def _folder(source: Source) -> Path:
    """Return the folder of the artifact: the result's path from here, or from the folder that contains `results`."""
    artifact = source.result.artifact
    if artifact is None:
        raise InputError(f"{source.path}: its artifact was not kept; run the recipe again with --keep")
    relocated = source.path.resolve().parent.parent.parent / artifact
    return Path(artifact) if is_folder(Path(artifact)) or not is_folder(relocated) else relocated


def _header(file: Path) -> Mapping[str, tuple[tuple[int, ...], int]]:
    """Return tensor -> shape and bytes from a file's header. Raises InputError if the header is invalid."""
    try:
        return header(file)
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise InputError(f"{file}: cannot be read ({error}); make the artifact again") from None


def _owner(tensor: str, changes: Mapping[str, Any]) -> str:
    """Return the layer of a tensor: the changed layer that contains it, otherwise its module."""
    parts = tensor.split(".")
    prefixes = (".".join(parts[:count]) for count in range(len(parts) - 1, 0, -1))
    return next((prefix for prefix in prefixes if prefix in changes), ".".join(parts[:-1]) or tensor)


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key: layer 10 after layer 9, embeddings first, and heads last."""
    first = 0 if "embed" in name else 2 if name.startswith(("classifier", "lm_head", "score")) else 1
    parts = [(0, int(part), "") if is_index(part) else (1, 0, part) for part in name.split(".")]
    return [(first, 0, ""), *parts]


def _change(entry: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return kind and description of a layer from its entry in the manifest."""
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


def _largest(all_layers: Sequence[Layer]) -> list[Layer]:
    """Return all layers, or the largest in the model's order and one row for the others."""
    if len(all_layers) <= MOST_ROWS:
        return list(all_layers)
    kept = {layer.name for layer in sorted(all_layers, key=lambda layer: -layer.size)[: MOST_ROWS - 1]}
    rest = [layer for layer in all_layers if layer.name not in kept]
    others = Layer(f"{len(rest)} smaller layers", sum(layer.size for layer in rest), "unchanged", "together")
    return [*(layer for layer in all_layers if layer.name in kept), others]
