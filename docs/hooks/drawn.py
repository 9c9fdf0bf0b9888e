"""Pictures of the documentation, drawn from the reference results while the site is built.

Colours are those of `compress.report.charts.plot`, told apart by every kind of colour vision; words say the same again.
"""

import io
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from compress.records.result import Result

COLOURS = {
    "SAVES": "#009E73",
    "NO MEASURABLE DIFFERENCE": "#777777",
    "COSTS MORE": "#D55E00",
    "NOT RELIABLE": "#CC79A7",
}
KERNELS = {
    "products of 8-bit integers": "#0072B2",
    "products of floating-point numbers": "#D55E00",
    "expanding weights": "#CC79A7",
    "all else that is listed": "#BBBBBB",
}


def verdicts(results: Sequence[Result]) -> str:
    """Every recipe's paired latency ratio with its interval, coloured by the word that follows from it."""
    (reference,) = {r.verdict_reference.name for r in results if r.verdict_reference}
    rows = [(r, r.headline.ratio(reference)) for r in results if r.headline and r.verdict]
    chosen = sorted(((r, ratio.latency) for r, ratio in rows if ratio), key=lambda pair: -pair[1].value)
    figure = Figure(figsize=(8.5, 0.34 * len(chosen) + 1.2))
    axis = figure.subplots()
    for place, (result, ratio) in enumerate(chosen):
        assert result.verdict is not None
        colour = COLOURS[result.verdict.word]
        axis.plot([ratio.low, ratio.high], [place, place], color=colour, linewidth=2, solid_capstyle="butt")
        axis.plot([ratio.value], [place], "o", color=colour, markersize=6)
        axis.text(3.2, place, result.verdict.word, color=colour, va="center", fontsize=8)
    axis.axvline(1, color="#444444", linewidth=1)
    axis.set_yticks(range(len(chosen)), [result.name for result, _ in chosen], fontsize=9)
    axis.set_xscale("log")
    _ticks(axis, (0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3))
    axis.set_xlim(0.09, 9)
    axis.set_xlabel(f"latency / latency of {reference}, with 95 % interval (left of the line is a saving)", fontsize=9)
    return _svg(figure, axis)


def pairs(results: Sequence[Result]) -> str:
    """Latency of bert_int8 and its reference in every round, and the ratio within the round."""
    result = next(r for r in results if r.name == "bert_int8")
    reference = result.verdict_reference
    assert reference is not None
    assert result.headline is not None
    theirs = next(p for p in reference.points if p.headline)
    figure = Figure(figsize=(8.5, 3.2))
    left, right = figure.subplots(1, 2)
    series = [("bert_int8", result.headline, "#0072B2", "o"), (reference.name, theirs, "#555555", "s")]
    values = []
    for name, point, colour, marker in series:
        rounds = sorted(point.rounds, key=lambda r: r.index)
        y = [1e3 * r.duration_s / r.batches for r in rounds]
        values.append(y)
        left.plot([r.index + 1 for r in rounds], y, marker, color=colour, label=name, linestyle=":")
    ratio = result.headline.ratio(reference.name)
    assert ratio is not None
    right.plot(range(1, len(values[0]) + 1), [a / b for a, b in zip(*values, strict=True)], "o", color="#0072B2")
    right.axhspan(ratio.latency.low, ratio.latency.high, color="#0072B2", alpha=0.2, label="95 % interval of the ratio")
    right.axhline(1, color="#444444", linewidth=1)
    left.set_ylabel("ms per batch", fontsize=9)
    right.set_ylabel("ratio within the round", fontsize=9)
    right.set_ylim(0, 1.15)
    left.set_ylim(0, None)
    for axis in (left, right):
        axis.set_xlabel("round", fontsize=9)
        axis.legend(fontsize=8, frameon=False, loc="lower left")
    return _svg(figure, left, right)


def kernels(results: Sequence[Result]) -> str:
    """What four models spent a profiled batch on: the listed operators, by kind of product."""
    names = ("bert_int8", "openvino_int8", "bert_int4", "bert_sparse")
    chosen = [next(r for r in results if r.name == name) for name in reversed(names)]
    figure = Figure(figsize=(8.5, 2.6))
    axis = figure.subplots()
    for place, result in enumerate(chosen):
        assert result.kernel is not None
        shares = dict.fromkeys(KERNELS, 0.0)
        for operator in result.kernel.evidence:
            shares[_kind(operator.name)] += 100 * operator.share
        start = 0.0
        for kind, share in shares.items():
            axis.barh(place, share, left=start, color=KERNELS[kind], height=0.6)
            start += share
        axis.text(101, place, result.kernel.label, va="center", fontsize=9)
    axis.set_yticks(range(len(chosen)), [result.name for result in chosen], fontsize=9)
    axis.set_xlim(0, 118)
    axis.set_xlabel("part of the time of a profiled batch, %", fontsize=9)
    for kind, colour in KERNELS.items():
        axis.barh(0, 0, color=colour, label=kind)
    axis.legend(fontsize=8, frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.45, 1))
    return _svg(figure, axis)


def _kind(operator: str) -> str:
    from compress.measure.kernels import LOW_BIT_PRODUCTS

    integer, floating, expanding, other = KERNELS
    if "dequantize" in operator:
        return expanding
    if LOW_BIT_PRODUCTS.search(operator):
        return integer
    return floating if any(word in operator for word in ("mm", "MatMul", "gemm", "FullyConnected")) else other


PICTURES: dict[str, Callable[[Sequence[Result]], str]] = {draw.__name__: draw for draw in (verdicts, pairs, kernels)}


def _ticks(axis: Any, values: Sequence[float]) -> None:
    axis.xaxis.set_major_locator(FixedLocator(list(values)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_locator(NullLocator())


def _svg(figure: Figure, *axes: Any) -> str:
    """The figure as SVG: light behind, so that it reads on dark pages too."""
    for axis in axes:
        axis.tick_params(labelsize=8)
        axis.grid(True, axis="x" if len(axes) == 1 else "y", color="#e6e6e6", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    figure.set_layout_engine("tight")
    out = io.StringIO()
    FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None})
    return out.getvalue()
