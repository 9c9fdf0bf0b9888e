"""The second implementation of the figures of rounds: it agrees with the first, and finds a fault planted in it."""

import ast
import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from compress.analysis import costs, figures, recount
from compress.analysis.judging import judged
from compress.analysis.older import AGAIN
from compress.analysis.verify import NOISE, SECOND, restricted, unlike, verify
from compress.records import files, trace
from compress.records.machine import code_version
from compress.records.sample import Sample
from compress.records.session import Idle, IdleTime, JudgedBy, MeterFacts, Runner, RunnerPoint, Session, Shape
from compress.records.stats import Estimate
from compress.records.window import Disturbance, Window
from tests import factory
from tests.helpers import ROOT

SOURCE = ROOT / "compress" / "analysis" / "recount.py"
RUNNERS = {factory.FP32: (0.020, 90.0), "fp32 padded": (0.024, 80.0), "bert_int8": (0.011, 75.0)}
"""Runner -> seconds per batch, watts."""
IDLE_W = 40.0
SIZE = 4
S = 10**9
METERS = {
    "none": MeterFacts(absent="no meter here"),
    "modelled": MeterFacts(source="modelled", boundary="CPU", measured=False),
    "at the edges": MeterFacts(source="rapl", boundary="CPU packages", measured=True),
    "in steps": MeterFacts(source="nvml", boundary="two boards", measured=True, step_s=0.1),
    "external": MeterFacts(source="external", boundary="the computer", measured=True, gain=0.01),
}


def made(meter: str, rounds: int, seed: int, noise: float = 0.02) -> Session:
    """A session whose rounds wander, with a stall now and then, in readings of this meter."""
    draw, now = random.Random(seed), 50 * S + seed  # no two sessions start at the same time
    drift = dict.fromkeys(RUNNERS, 0.0)
    windows: dict[str, list[Window]] = {name: [] for name in RUNNERS}
    power: list[tuple[int, float]] = [(0, IDLE_W)]  # watts from a time on
    for index in range(rounds):
        for order, name in enumerate(draw.sample(list(RUNNERS), len(RUNNERS))):
            batch_s, watts = RUNNERS[name]
            drift[name] = 0.5 * drift[name] + draw.gauss(0, noise)
            slower = math.exp(drift[name]) * (1.8 if noise > 0.01 and draw.random() < 0.06 else 1.0)
            watts *= math.exp(draw.gauss(0, noise))
            each = [round(batch_s * slower * (1 + noise * draw.random()) * S) for _ in range(draw.randint(40, 50))]
            start, end = now + S, now + S + sum(each) + draw.randint(0, 1000)
            power += [(now, watts), (end + S, IDLE_W)]
            edges = (
                [round(_counted(power, at)) for at in (start, end)] if "edges" in meter or meter == "modelled" else []
            )
            windows[name].append(Window(start, end, tuple(each), 5, *(edges or (None, None)), index, order))
            now = end + 2 * S
    facts = METERS[meter]
    boards = (0, 1) if meter == "in steps" else ()
    samples = tuple(sample for board in boards for sample in _steps(power, board, now))
    if meter == "external":
        samples = tuple(Sample(at, outside_mw=round(1000 * _watts(power, at))) for at in range(0, now + S, S // 20))
    idle = IdleTime(2 * S, 8 * S, 0, round(IDLE_W * 6e6), tuple(s for s in samples if s.time_ns < 12 * S))
    right = {"prediction": [0.0, 1.0, 1.0, 0.0], "reference": [0.0, 1.0, 0.0, 0.0]}
    return Session(
        runners=tuple(
            Runner(name, right, True, 1, "by length", None, (RunnerPoint(Shape(SIZE, 64), tuple(each), steady=True),))
            for name, each in windows.items()
        ),
        meter=facts,
        idle=Idle(loaded=idle) if facts.measured and meter != "external" else Idle(),
        samples=tuple(sorted(samples, key=lambda sample: sample.time_ns)),
        foreign_processes=0,
        judged_by=JudgedBy(tuple(RUNNERS)[:2], factory.FP32, "accuracy", 0),
    )


def _watts(power: Sequence[tuple[int, float]], at: int) -> float:
    return [watts for start, watts in power if start <= at][-1]


def _counted(power: Sequence[tuple[int, float]], at: int) -> float:
    """Microjoules up to a time."""
    ends = [*(start for start, _ in power[1:]), at]
    return sum(watts * max(0, min(end, at) - start) for (start, watts), end in zip(power, ends, strict=True)) / 1000


def _steps(power: Sequence[tuple[int, float]], board: int, until: int) -> list[Sample]:
    """Readings each 50 ms of a board's counter, which moves each 100 ms and has half of the power."""
    step, total, last, found = S // 10, 0.0, 0, []
    starts = iter([*power[1:], (until + 10 * S, 0.0)])
    watts, (change, following) = power[0][1], next(starts)
    for at in range(7 * board, until, S // 20):
        while change <= at:
            total += watts * (change - last)
            last, watts = change, following
            change, following = next(starts)
        if at % step < S // 20:
            total, last = total + watts * (at - last), at
        found.append(Sample(at, board, round(total / 2000)))
    return found


def differences(sessions: Sequence[Session]) -> list[str]:
    """Sentences about figures of the first implementation that the second one does not confirm."""
    raw = costs.from_trace(sessions[0], sessions[1:])
    found = []
    for name, points in zip(RUNNERS, recount.points(sessions, RUNNERS), strict=True):
        first = [asdict(point) for point in figures.points(raw, name)]
        assert len(first) == len(points) == 1
        found += [text for _, text in unlike(restricted(first, points), points, name, SECOND, NOISE)]
    return found


@pytest.mark.parametrize("rounds", [1, 2, 5, 6, 14, 15, 19])
@pytest.mark.parametrize("meter", METERS)
def test_both_implementations_agree_in_every_figure(meter: str, rounds: int) -> None:
    sessions = [made(meter, rounds, seed) for seed in range(3 if rounds < 7 else 2)]
    for number in range(len(sessions)):
        assert differences(sessions[: 1 + number]) == []


@pytest.mark.parametrize("meter", METERS)
def test_both_agree_where_nothing_varies_or_a_session_lacks_what_others_have(meter: str) -> None:
    still, moving = made(meter, 7, 1, noise=0.0), made(meter, 9, 2)
    assert differences([still]) == []
    without = replace(moving, runners=moving.runners[:2])
    unmetered = replace(moving, meter=METERS["none"], samples=(), idle=Idle())
    for further in (without, unmetered, replace(moving, samples=moving.samples[: len(moving.samples) // 2])):
        assert differences([made(meter, 8, 3), further]) == []


def test_a_metered_point_has_all_figures_and_they_are_the_true_ones() -> None:
    (points, *_) = recount.points([made("in steps", 8, 4, noise=0.001)], ["bert_int8"])
    (point,) = points
    batch_s, watts = RUNNERS["bert_int8"]
    reference_s, reference_w = RUNNERS[factory.FP32]
    (ratio, _) = point["ratios"]
    assert point["energy_net_j"]["value"] == pytest.approx((watts - IDLE_W) * batch_s / SIZE, rel=0.01)
    true = (watts - IDLE_W) * batch_s / ((reference_w - IDLE_W) * reference_s)
    assert ratio["net"]["low"] < true < ratio["net"]["high"] and ratio["net"]["value"] == pytest.approx(true, rel=0.01)
    waiting = IDLE_W * (reference_s - batch_s) / (reference_w * reference_s - watts * batch_s)
    assert ratio["waiting_share"] == pytest.approx(waiting, rel=0.02)
    assert point["energy_j"]["low"] < watts * batch_s / SIZE * 1.001 < point["energy_j"]["high"] * 1.002


@pytest.mark.parametrize(
    ("degrees", "confidence", "quantile"),
    [(1, 0.95, math.tan(0.95 * math.pi / 2)), (2, 0.95, 0.95 * math.sqrt(2 / (1 - 0.95**2))),
     (5, 0.95, 2.570581835636314), (30, 0.95, 2.042272456301238), (1000, 0.95, 1.9623390808264078),
     (3, 0.5, 0.7648923284043453)],
)  # fmt: skip
def test_students_quantile_is_that_of_the_tables(degrees: int, confidence: float, quantile: float) -> None:
    assert recount.student(degrees, confidence) == pytest.approx(quantile, rel=1e-11)


def test_it_is_short_and_shares_only_the_types_of_a_trace() -> None:
    text = SOURCE.read_text()
    assert len(text.splitlines()) <= 300
    modules = {node.module for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)}
    assert not any(isinstance(node, ast.Import) and node.names[0].name != "math" for node in ast.walk(ast.parse(text)))
    own = {"compress.records.session", "compress.records.window", "compress.records.sample"}
    assert modules == own | {"collections.abc", "functools", "itertools", "operator", "statistics", "typing"}


def result_of(root: Path, sessions: Sequence[Session]) -> Path:
    """The file of a result of these sessions, beside its traces."""
    raw = costs.from_trace(sessions[0], sessions[1:])
    names = [f"stdlib-bert/traces/s{number}" for number in range(len(sessions))]
    for name, each in zip(names, sessions, strict=True):
        trace.write(root / name, each)
    reference = replace(
        factory.reference(),
        points=figures.points(raw, factory.FP32),
        accuracy=figures.accuracy(raw, factory.FP32),
    )
    plain = factory.result("bert_int8", references=(reference,))
    points, accuracy = figures.points(raw, "bert_int8"), figures.accuracy(raw, "bert_int8")
    whole = replace(plain, seed=0, limit=None, points=points, accuracy=accuracy, trace=names[0])
    return files.write(root, judged(replace(whole, further_traces=tuple(names[1:]), breakeven=None)))


@pytest.fixture(scope="module")
def sessions() -> list[Session]:
    return [made("at the edges", 16, seed) for seed in (5, 6)]


def test_verify_states_how_many_figures_the_second_implementation_confirmed(
    sessions: list[Session], tmp_path: Path
) -> None:
    found = verify(result_of(tmp_path, sessions))
    assert found.differences == ()
    rounds = 2 * 32 * 10  # two rows, 32 rounds, ten figures each
    assert rounds < found.confirmed < found.figures


def scaled(function: Callable[..., Any], field: str, factor: float = 1.001) -> Callable[..., Any]:
    """The function with one field of what it returns multiplied."""

    def faulty(*args: Any, **kwargs: Any) -> Any:
        found = function(*args, **kwargs)
        if field == "":
            if found is None or isinstance(found, list):
                return found and [factor * value for value in found]
            return factor * found + 1e-4 * (found == 0)
        change = {field: getattr(found, field) * factor}
        return found._replace(**change) if hasattr(found, "_replace") else replace(found, **change)

    return faulty


FAULTS = {
    "a paired ratio": ("compress.records.stats.paired_ratio", "high", "ratios[0].latency.high"),
    "the robust location": ("compress.records.robust.location", "error", "latency_s.high"),
    "the inflation by correlation": ("compress.records.serial.inflation", "", "latency_s.high"),
    "the correlation's allowance": ("compress.records.serial.allowed", "", "correlation.upper"),
    "joining sessions": ("compress.analysis.over_sessions.joined_ratio", "high", "ratios[0].net.high"),
    "the spread between sessions": ("compress.analysis.over_sessions.session_spread", "", "session_spread"),
    "a percentile": ("compress.records.quantiles.quantile_estimate", "high", "latency_percentiles_s.p90.high"),
    "energy net of idle": ("compress.analysis.net.net_j", "", "energy_net_j.value"),
    "the waiting share": ("compress.analysis.net.waiting_share", "", "waiting_share"),
    "idle power": ("compress.analysis.figures.idle_watts", "", "energy_idle_j"),
    "Student's t": ("compress.records.joined.t_quantile", "", "energy_j.low"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_an_estimator_is_found(
    fault: str, sessions: list[Session], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, field, place = FAULTS[fault]
    module, name = target.rsplit(".", 1)
    original = getattr(__import__(module, fromlist=[name]), name)
    monkeypatch.setattr(target, scaled(original, field))
    found = verify(result_of(tmp_path, sessions)).differences  # the fault is in the result and in its verification
    assert found and all(SECOND in line for line in found)
    assert any(place in line.split(": ")[0] for line in found), found


def test_a_fault_in_the_joules_of_a_counter_that_steps_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "window_energy", scaled(costs.window_energy, "joules"))
    found = verify(result_of(tmp_path, [made("in steps", 2, 1)])).differences
    assert any(line.startswith("points[0].rounds[0].energy_j: ") for line in found)


def test_rounds_of_schema_1_are_confirmed_and_a_changed_one_is_found(tmp_path: Path) -> None:
    source = ROOT / "results" / "reference" / "gpu" / "minilm-sst2-b32-l64"
    result = files.read(next(source.glob("graphs_student*.json")))
    assert result.schema == 1 and result.trace is not None and AGAIN not in result.notes
    copy = tmp_path / "minilm-sst2-b32-l64" / "traces" / Path(result.trace).name
    copy.mkdir(parents=True)
    for file in (source / "traces" / copy.name).iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    path = files.write(tmp_path, result)
    clean = verify(path)
    rows = (result, *result.references)
    assert clean.differences == () and clean.confirmed == sum(9 * len(p.rounds) for row in rows for p in row.points)
    (point,) = result.points
    first = replace(point.rounds[0], energy_j=math.nextafter(point.rounds[0].energy_j or 0.0, math.inf))
    files.replace_file(path, replace(result, points=(replace(point, rounds=(first, *point.rounds[1:])),)))
    changed = verify(path)
    assert len(changed.differences) == 1 and changed.confirmed == clean.confirmed - 1


def test_an_interval_changed_in_the_file_is_reported_once(sessions: list[Session], tmp_path: Path) -> None:
    path = result_of(tmp_path, sessions)
    clean, result = verify(path).confirmed, files.read(path)
    (point,) = result.points
    wider = replace(point.latency_s, high=point.latency_s.high * (1 + 2e-9))
    assert isinstance(wider, Estimate)
    files.replace_file(path, replace(result, points=(replace(point, latency_s=wider),)))
    found = verify(path)
    assert [line.split(":")[0] for line in found.differences] == ["points[0].latency_s.high"]
    assert found.confirmed == clean - 1


def test_other_words_are_a_remark_for_another_version_and_a_difference_for_this_one(
    sessions: list[Session], tmp_path: Path
) -> None:
    path = result_of(tmp_path, sessions)
    result = files.read(path)
    assert result.verdict is not None
    reworded = replace(result.verdict, sentence=result.verdict.sentence.replace("at this task", "here"))
    assert reworded != result.verdict
    other = replace(result, verdict=reworded, points=(replace(result.points[0], verdict=reworded),))
    files.replace_file(path, other)
    found = verify(path)
    assert found.differences == () and "worded otherwise by this version" in str(found.remark)
    files.replace_file(path, replace(other, code_version=code_version()))
    assert {line.split(":")[0] for line in verify(path).differences} == {
        "verdict.sentence",
        "points[0].verdict.sentence",
    }
    number = replace(reworded, sentence=re.sub(r"0\.\d+", "0.99", reworded.sentence, count=1))
    files.replace_file(path, replace(other, verdict=number))
    assert [line.split(":")[0] for line in verify(path).differences] == ["verdict.sentence"]


def test_rounds_left_out_without_a_slow_processor_are_a_difference(tmp_path: Path) -> None:
    session = made("modelled", 16, 5)
    runners = tuple(
        replace(runner, points=tuple(_without_first_rounds(point) for point in runner.points))
        for runner in session.runners
    )
    path = result_of(tmp_path, [replace(session, runners=runners)])
    (line,) = verify(path).differences
    assert line.startswith("session 1 points[0]: left out are the rounds ") and line.endswith("was not slow")


def _without_first_rounds(point: RunnerPoint) -> RunnerPoint:
    """The point without four rounds, all of them at one speed of the processor."""
    even = tuple(replace(w, index=w.index + 1, disturbance=Disturbance(cpu_ops=10**11)) for w in point.windows)
    return replace(point, windows=even[4:], unused=even[:4])
