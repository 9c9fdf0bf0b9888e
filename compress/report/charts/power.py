"""Power and clocks of the board over the rounds of a session, with the model that was running.

Data are the raw samples in `traces/`. Windows of the results are coloured, those of their reference grey, and all
others white. If the meter reports no instant power, power comes from the counter's increase between two movements.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from compress.analysis.joules import by_board, series
from compress.base.config import InputError
from compress.records import trace
from compress.records.further import completed
from compress.records.sample import PAUSE_NS, Sample, Signal
from compress.records.session import Session
from compress.report.charts import Source, canvas, of_one_session
from compress.report.text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLOCKS: tuple[tuple[Signal, str, str], ...] = (("sm_mhz", "SM", canvas.BLUE), ("memory_mhz", "memory", canvas.GREEN))


def draw(sources: Sequence[Source]) -> "Figure":
    """Draw power, and below it clocks and temperature if the meter reports them."""
    of_one_session(sources)
    first = sources[0]
    session = sampled(first)
    start, boards = session.samples[0].time_ns, by_board(session.samples)
    has_clocks = any(series(session.samples, signal) for signal, _, _ in CLOCKS)
    has_temperature = bool(series(session.samples, "temperature_c"))
    rows = 1 + has_clocks + has_temperature
    figure = canvas.new_figure(9, 1.3 + 2.1 * rows)
    plots = canvas.axes(figure, rows)
    for samples in boards:
        board = samples[0].board or 0
        of_board = f" of board {board}" if len(boards) > 1 else ""
        colour = canvas.CYCLE[board % 7] if of_board else "black"
        plots[0].plot(*_line(power_w(samples), start), color=colour, linewidth=0.8,
                      label=f"power{of_board}" if of_board else None)  # fmt: skip
        for signal, name, colour in CLOCKS if has_clocks else ():
            plots[1].plot(
                *_line(series(samples, signal), start), color=colour, linewidth=0.9, label=f"{name} clock{of_board}"
            )
        if has_temperature:
            plots[-1].plot(*_line(series(samples, "temperature_c"), start), color=canvas.VERMILLION, linewidth=0.9)
    for plot in plots:
        _windows(plot, session, sources, start, named=plot is plots[0])
    plots[0].set_ylabel("power, W")
    plots[0].set_ylim(bottom=0)
    if has_clocks:
        plots[1].set_ylabel("clock, MHz")
        plots[1].set_ylim(bottom=0)
        plots[1].legend(fontsize=7.5, loc="lower right", framealpha=0.8)
    if has_temperature:
        plots[-1].set_ylabel("temperature, °C")
    plots[-1].set_xlabel("seconds since the first sample")
    result = first.result
    title = f"{result.workload.get('name')} on {result.machine.device_name}, session {result.session}"
    plots[0].set_title(plain(title), loc="left", fontsize=10, pad=24, parse_math=False)
    canvas.legend(plots[0], 5)
    return figure


def sampled(source: Source) -> Session:
    """Return a result's sessions as one, with samples sorted by board and time. They share the machine's clock.

    Raises InputError without samples of a meter.
    """
    if source.result.trace is None:
        raise InputError(f"{source.path}: records no trace; run the recipe again")
    folder, *further = (trace.located(source.path, stated) for stated in source.result.traces)
    session = trace.read(folder)
    if not session.samples:
        why = session.meter.sampling_error or session.meter.why_modelled or "nothing was sampled"
        raise InputError(f"{folder}: holds no samples of a meter ({why}); there is no power to draw")
    whole = [session, *(completed(trace.read(each), session) for each in further)]
    samples = sorted((s for each in whole for s in each.samples), key=lambda s: (s.board or 0, s.time_ns))
    runners = (
        replace(r, points=tuple(p for each in whole for p in each.runner(r.name).points)) for r in session.runners
    )
    return replace(session, runners=tuple(runners), samples=tuple(samples))


def power_w(samples: Sequence[Sample]) -> list[tuple[int, float]]:
    """Return nanoseconds and watts: instant power, or the increase of one board's counter since its last movement."""
    instant = [(time, milliwatts / 1e3) for time, milliwatts in series(samples, "power_mw")]
    if instant:
        return instant
    watts = []
    counted = [(s.time_ns, s.counter_uj) for s in samples if s.counter_uj is not None]
    moved_ns, moved_uj = counted[0] if counted else (0, 0)
    for time_ns, counter_uj in counted[1:]:
        rise_uj, elapsed_ns = counter_uj - moved_uj, time_ns - moved_ns
        if rise_uj > 0 and elapsed_ns > 0:  # a falling counter has restarted
            watts.append((time_ns, rise_uj * 1e3 / elapsed_ns))
        moved_ns, moved_uj = (time_ns, counter_uj) if rise_uj else (moved_ns, moved_uj)
    return watts


def _line(pairs: Sequence[tuple[int, float]], start_ns: int) -> tuple[list[float], list[float]]:
    """Return seconds and values, with a gap in the line between sessions."""
    times, values = [], []
    for (before_ns, _), (time_ns, value) in zip([*pairs[:1], *pairs], pairs, strict=False):
        if time_ns - before_ns > PAUSE_NS:
            times.append(math.nan)
            values.append(math.nan)
        times.append((time_ns - start_ns) / 1e9)
        values.append(value)
    return times, values


def _windows(plot: "Axes", session: Session, sources: Sequence[Source], start_ns: int, named: bool) -> None:
    """Shade the windows in which each result and their reference were measured."""
    colours = {source.name: colour for source, colour in zip(sources, canvas.CYCLE[1:], strict=False)}
    colours[sources[0].reference.name] = canvas.GREY
    for runner in session.runners:
        colour = colours.get(runner.name)
        windows = [window for point in runner.points for window in point.windows] if colour else []
        for number, window in enumerate(windows):
            left, right = ((edge - start_ns) / 1e9 for edge in (window.started_ns, window.ended_ns))
            label = plain(runner.name) if named and number == 0 else None
            plot.axvspan(left, right, color=colour, alpha=0.25, linewidth=0, label=label)
