"""Power and clocks of the board over the rounds of a session, and which of the models was running.

The raw samples as they lie in `traces/`: windows of the results in colours, those of their reference in grey, all
others white. Where the meter tells no instant power, it is what the counter rose by between two samples.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from compress.base.config import InputError
from compress.records import trace
from compress.report.charts import Source, canvas, of_one_session
from compress.report.text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLOCKS = (("sm_mhz", "SM", canvas.BLUE), ("memory_mhz", "memory", canvas.GREEN))


def draw(sources: Sequence[Source]) -> "Figure":
    """Power above, clocks and temperature below where the meter tells them."""
    of_one_session(sources)
    first = sources[0]
    answer = samples(first)
    start = answer["samples"][0]["time_ns"]
    boards = sorted({sample.get("board", 0) for sample in answer["samples"]})
    below = [key for key, _, _ in CLOCKS if any(s.get(key) is not None for s in answer["samples"])]
    warm = any(s.get("temperature_c") is not None for s in answer["samples"])
    rows = 1 + bool(below) + warm
    figure = canvas.new_figure(9, 1.3 + 2.1 * rows)
    plots = canvas.axes(figure, rows)
    for board in boards:
        mine = [s for s in answer["samples"] if s.get("board", 0) == board]
        many = f" of board {board}" if len(boards) > 1 else ""
        plots[0].plot(*_series(power_w(mine), start), color=canvas.CYCLE[board % 7] if many else "black", linewidth=0.8,
                      label=f"power{many}" if many else None)  # fmt: skip
        for key, name, colour in CLOCKS if below else ():
            plots[1].plot(*_series(known(mine, key), start), color=colour, linewidth=0.9, label=f"{name} clock{many}")
        if warm:
            plots[-1].plot(*_series(known(mine, "temperature_c"), start), color=canvas.VERMILLION, linewidth=0.9)
    for plot in plots:
        _windows(plot, answer, sources, start, named=plot is plots[0])
    plots[0].set_ylabel("power, W")
    plots[0].set_ylim(bottom=0)
    if below:
        plots[1].set_ylabel("clock, MHz")
        plots[1].set_ylim(bottom=0)
        plots[1].legend(fontsize=7.5, loc="lower right", framealpha=0.8)
    if warm:
        plots[-1].set_ylabel("temperature, °C")
    plots[-1].set_xlabel("seconds since the first sample")
    result = first.result
    title = f"{result.workload.get('name')} on {result.machine.device_name}, session {result.session}"
    plots[0].set_title(plain(title), loc="left", fontsize=10, pad=24, parse_math=False)
    canvas.legend(plots[0], 5)
    return figure


def samples(source: Source) -> trace.Answer:
    """The trace of a result. Raises InputError where it has none, or holds no samples of a meter."""
    if source.result.trace is None:
        raise InputError(f"{source.path}: names no trace; run the recipe again")
    folder = trace.located(source.path, source.result.trace)
    answer = trace.read(folder)
    answer["samples"] = sorted(answer["samples"], key=lambda s: (s.get("board", 0), s["time_ns"]))
    if not answer["samples"]:
        meter = answer.get("meter") or {}
        why = meter.get("sampling_error") or meter.get("why_modelled") or "nothing was sampled"
        raise InputError(f"{folder}: holds no samples of a meter ({why}); there is no power to draw")
    return answer


def power_w(mine: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
    """Nanoseconds and watts: instant power, or what the counter of one board rose by since it moved last."""
    told = [(s["time_ns"], s["power_mw"] / 1e3) for s in mine if s.get("power_mw") is not None]
    if told:
        return told
    found = []
    counted = [s for s in mine if s.get("counter_uj") is not None]
    moved = counted[0] if counted else {}
    for sample in counted[1:]:
        rise, passed = sample["counter_uj"] - moved["counter_uj"], sample["time_ns"] - moved["time_ns"]
        if rise > 0 and passed > 0:  # a counter that stands still has not moved yet; one that falls began anew
            found.append((sample["time_ns"], rise * 1e3 / passed))
        moved = sample if rise else moved
    return found


def known(mine: Sequence[Mapping[str, Any]], key: str) -> list[tuple[int, float]]:
    """Nanoseconds and value of what samples tell under a key."""
    return [(s["time_ns"], float(s[key])) for s in mine if s.get(key) is not None]


def _series(pairs: Sequence[tuple[int, float]], start_ns: int) -> tuple[list[float], list[float]]:
    return [(t - start_ns) / 1e9 for t, _ in pairs], [value for _, value in pairs]


def _windows(plot: "Axes", answer: trace.Answer, sources: Sequence[Source], start_ns: int, named: bool) -> None:
    """Shades when each of the results, and their reference, was measured."""
    colours = {source.name: colour for source, colour in zip(sources, canvas.CYCLE[1:], strict=False)}
    colours[sources[0].reference.name] = canvas.GREY
    for runner in answer["runners"]:
        colour = colours.get(runner["name"])
        windows = [w for point in runner["points"] for w in point["rounds"]] if colour else []
        for number, window in enumerate(windows):
            left, right = ((window[key] - start_ns) / 1e9 for key in ("started_ns", "ended_ns"))
            label = plain(runner["name"]) if named and number == 0 else None
            plot.axvspan(left, right, color=colour, alpha=0.25, linewidth=0, label=label)
