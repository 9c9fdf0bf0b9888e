"""Two meters with gain errors of their own widen a break-even; the gain of one meter cancels."""

import random
from dataclasses import replace

import pytest

from benchmarks.study import breakeven
from compress.analysis import gains
from compress.analysis.judging import judged
from compress.analysis.price import Span, Spent, recorded, transform
from compress.records.result import Transform
from compress.report import text
from tests import factory


def covered(uuid: str | None, gain: float, extreme: bool = False) -> float:
    """Return the share of intervals that contain the truth, without a spread between sessions."""
    return breakeven.covered(uuid, gain, 1000, extreme=extreme, assumed=0.0)


def test_the_interval_of_two_boards_covers_the_true_breakeven() -> None:
    assert covered("b", 0.05) >= 0.95
    assert covered("b", 0.05, extreme=True) >= 0.95
    assert covered(None, 0.05) >= 0.95


def test_without_the_gains_of_both_boards_it_would_cover_half(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gains, "FACTOR", 1.0)
    assert covered("b", 0.05) < 0.6


def test_the_gain_of_one_board_cancels_and_its_interval_is_narrower() -> None:
    assert covered("a", 0.05) == pytest.approx(0.95, abs=0.02)
    same, other = (
        breakeven.measured(random.Random(1), 1.0, 1.0, uuid, assumed=0.0).inferences for uuid in ("GPU-a", "b")
    )
    assert same is not None and other is not None
    assert other.value == same.value
    assert other.low == pytest.approx(same.low * 0.95 / 1.05)
    assert other.high == pytest.approx(same.high * 1.05 / 0.95)


@pytest.mark.parametrize(
    ("uuid", "source", "words"),
    [
        ("GPU-A", "nvml", None),
        ("b", "nvml", "another meter of this kind measured compressing"),
        (None, "nvml", "it is unknown whether one meter measured"),
        ("a,b", "nvml", "another meter"),
        (None, "external", None),
    ],
    ids=["same", "another", "unknown", "one board more", "external"],
)
def test_the_note_states_whether_two_meters_measured(uuid: str | None, source: str, words: str | None) -> None:
    note = gains.two_meters(Transform(1.0, 300.0, source, None, 0, (), energy_uuid=uuid), "a")
    assert (note is None) == (words is None)
    assert (words or "") in (note or "")
    assert note is None or "5 % each" in note


def test_the_meter_of_inferences_is_the_gpu_or_the_machine() -> None:
    result = factory.result("a", energy_source="nvml")
    machine = replace(result.machine, id="cpu-1", uuid="abc,def")
    result = replace(result, machine=machine)
    assert gains.inference_meter(result, "nvml") == "abc,def"
    assert gains.inference_meter(result, "rapl") == "cpu-1"
    assert gains.inference_meter(result, "external") is None


def test_the_artifacts_readings_identify_the_meter_unless_two_measured() -> None:
    spans = [Span("nvml", True, 0.1, 0, "GPU board X", 10**9, 100.0, uuid=uuid) for uuid in ("a", "a", "b")]
    assert transform(recorded(Spent(tuple(spans[:2])), [])).energy_uuid == "a"  # type: ignore[arg-type]
    assert transform(recorded(Spent(tuple(spans)), [])).energy_uuid is None  # type: ignore[arg-type]
    old = recorded(Spent(tuple(spans[:1])), [])
    del old["attempts"][0]["uuid"]
    assert transform(old).energy_uuid is None  # type: ignore[arg-type]


def test_a_result_measured_on_another_board_than_its_artifact_states_it() -> None:
    result = factory.result("a", cost=0.5, energy_source="nvml")
    spent = Transform(1.0, 300.0, "nvml", None, 0, (), energy_uuid="GPU-b")
    result = judged(replace(result, machine=replace(result.machine, uuid="a"), transform=spent))
    assert result.breakeven is not None and result.breakeven.inferences is not None
    assert "another meter of this kind measured compressing" in text.breakeven_words(result.breakeven)
