"""Results of schema 1 are estimated and judged again by today's rules when they are read."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from compress.analysis import older, reading
from compress.analysis.gate import Limits, check
from compress.analysis.older import AGAIN, rejudged
from compress.analysis.verify import recomputed, verify
from compress.records import files, trace
from compress.records.result import Accuracy, Result
from tests import factory
from tests.helpers import ROOT

REFERENCE = ROOT / "results" / "reference"
GPU = REFERENCE / "gpu"
H200 = sorted((GPU / "minilm-sst2-b32-l64").glob("*.json"))
CPU = sorted((REFERENCE / "minilm-sst2").glob("*.json"))


def test_the_published_h200_session_is_not_reliable_by_the_rules_of_today() -> None:
    results, problems = reading.read_all(GPU)
    assert (len(results), problems) == (4, [])
    for result in results:
        assert result.schema == 1 and result.notes[-1] == AGAIN
        assert result.verdict is not None and result.verdict.word == "NOT RELIABLE"
        assert {p.grade for row in (result, *result.references) for p in row.points} == {"D"}


@pytest.mark.parametrize("path", [*H200, *CPU[:6]], ids=lambda p: p.stem)
def test_metric_rounds_and_percentiles_stay_those_of_the_file(path: Path) -> None:
    stored, seen = files.read(path), reading.read(path)
    for old, new in zip((stored, *stored.references), (seen, *seen.references), strict=True):
        assert old.accuracy is not None and new.accuracy is not None
        assert old.accuracy == replace(new.accuracy, delta=old.accuracy.delta)
        assert_close(old.accuracy, new.accuracy)
        for before, after in zip(old.points, new.points, strict=True):
            assert before.rounds == after.rounds
            assert before.latency_percentiles_s == after.latency_percentiles_s
            assert before.latency_s.value == pytest.approx(after.latency_s.value, rel=0.03)  # no stalls here


def assert_close(old: Accuracy, new: Accuracy) -> None:
    """The difference stays; its interval is a score interval, up to twice as wide where few answers changed."""
    if old.delta is None or new.delta is None:
        assert old.delta is new.delta
        return
    assert new.delta.value == old.delta.value
    widths = [delta.high - delta.low for delta in (old.delta, new.delta)]
    assert 0.9 < widths[1] / widths[0] < 2


def test_the_difference_of_schema_1_is_estimated_again_from_its_answers() -> None:
    reference = factory.reference(accuracy=replace(factory.accuracy(0.995, None, right=f"{2**199 - 1:x}"), delta=None))
    ours = replace(factory.accuracy(0.995, 0.0, half=0.01, right=f"{2**199 - 1:x}"))
    same = [replace(a, estimate=replace(a.estimate, n=200)) for a in (reference.accuracy, ours)]
    old = factory.result("a", 0.5, accuracy=same[1], references=(replace(reference, accuracy=same[0]),), schema=1)
    for schema, half in ((1, 0.0188), (2, 0.01)):  # z^2 / (n + z^2); exact: 1 - 0.025^(1/200) = 0.0183
        (seen,) = rejudged([replace(old, schema=schema)])
        assert seen.accuracy is not None and seen.accuracy.delta is not None
        assert (seen.accuracy.delta.low, seen.accuracy.delta.high) == pytest.approx((-half, half), abs=1e-4)


def test_a_stalled_round_of_schema_1_no_longer_decides_its_ratio() -> None:
    """Seven ratios from 0.34 to 0.60 and one of 13.9: the mean without the smallest and the largest, by hand."""
    (path,) = (ROOT / "results/reference/amx/validation/minilm-sst2").glob("openvino_int8-*.json")
    before, after = (r.headline.ratio("bf16 eager") for r in (files.read(path), reading.read(path)) if r.headline)
    assert before is not None and after is not None
    logs = sorted(map(math.log, (0.5296, 0.4425, 0.5983, 0.5622, 0.4924, 0.3430, 0.5862, 13.894)))
    assert before.latency.value == pytest.approx(math.exp(sum(logs) / 8), rel=1e-3)  # 0.757
    assert after.latency.value == pytest.approx(math.exp(sum(logs[1:-1]) / 6), rel=1e-3)  # 0.532
    assert after.latency.high < 1 < before.latency.high


@pytest.mark.parametrize("path", H200, ids=lambda p: p.stem)
def test_a_file_and_its_trace_give_the_same_verdict_grade_and_net_energy(path: Path) -> None:
    stored, seen = files.read(path), reading.read(path)
    assert stored.trace is not None
    again = recomputed(stored, trace.read(trace.located(path, stored.trace)))
    for ours, theirs in zip((seen, *seen.references), (again, *again.references), strict=True):
        (one,), (other,) = ours.points, theirs.points
        assert (one.grade, set(one.grade_reasons), one.unreliable) == (
            other.grade, set(other.grade_reasons), other.unreliable
        )  # fmt: skip
        for ratio, twin in zip(one.ratios, other.ratios, strict=True):
            assert ratio.net is not None and twin.net is not None
            assert (ratio.net.value, ratio.net.low, ratio.net.high) == pytest.approx(
                (twin.net.value, twin.net.low, twin.net.high)
            )
            assert ratio.waiting_share == (twin.waiting_share and pytest.approx(twin.waiting_share))
            assert ratio.energy is not None and twin.energy is not None
            for seen_ratio, traced in ((ratio.latency, twin.latency), (ratio.energy, twin.energy)):
                assert (seen_ratio.value, seen_ratio.low, seen_ratio.high) == pytest.approx(
                    (traced.value, traced.low, traced.high)
                )
    assert seen.verdict is not None and again.verdict is not None
    assert seen.verdict.word == again.verdict.word


def test_one_file_is_judged_beside_the_others_of_its_session() -> None:
    (torchao,) = [path for path in H200 if path.stem.startswith("torchao")]
    together = {result.name: result for result in reading.read_all(GPU)[0]}
    assert reading.read(torchao) == together["torchao_int8"]
    (alone,) = rejudged([files.read(torchao)])  # its own latency and those of the references show no drift
    assert alone.verdict is not None and alone.verdict.word == "COSTS MORE"


def test_numbers_of_schema_1_are_read_without_an_interval() -> None:
    raw = json.loads(H200[0].read_bytes())["points"][0]
    point = files.read(H200[0]).points[0]
    for name, estimate in (("p50", point.latency_percentiles_s.p50), ("p90", point.latency_percentiles_s.p90)):
        assert estimate is not None
        assert estimate.value == raw["latency_percentiles_s"][name] and not estimate.bounded
    assert point.energy_net_j is not None and point.energy_net_j.value == raw["energy_net_j"]
    seen = reading.read(H200[0]).points[0].energy_net_j
    size = raw["batch_size"]
    idle_w = raw["energy_idle_j"] * size / raw["latency_s"]["value"]
    nets = [(r["energy_j"] - idle_w * r["duration_s"]) / (r["batches"] * size) for r in raw["rounds"]]
    assert seen is not None and seen.bounded
    assert seen.value == pytest.approx(sum(nets) / 6)  # today's location of 6 rounds
    assert seen.value == pytest.approx(raw["energy_net_j"], rel=0.002)


def test_a_result_of_today_is_read_as_it_is(tmp_path: Path) -> None:
    path = files.write(tmp_path, factory.result())
    assert reading.read(path) == factory.result()
    assert rejudged([factory.result()]) == [factory.result()]


def old(result: Result, *reasons: str, grade: str = "B") -> Result:
    points = tuple(replace(p, grade=grade, grade_reasons=reasons) for p in result.points)  # type: ignore[arg-type]
    return replace(result, schema=1, points=points)


@pytest.mark.parametrize(
    ("reasons", "grade", "word"),
    [
        ((), "B", "SAVES"),
        (("the board ran at its power cap",), "C", "SAVES"),
        (("1 other process on the device",), "D", "NOT RELIABLE"),
        (("fp32 eager drifted by +3.5 % over the session",), "B", "SAVES"),  # below the limit of today
        (("the counter and integrated instant power are 9.0 % apart",), "B", "SAVES"),  # its rounds agree
    ],
    ids=["nothing", "a flaw", "a disturbance", "an older drift", "an older agreement"],
)
def test_reasons_of_schema_1_keep_their_meaning(reasons: tuple[str, ...], grade: str, word: str) -> None:
    result = factory.result(energy_source="nvml")
    rounds = tuple(replace(r, integrated_j=r.energy_j) for r in result.points[0].rounds)
    agreed = replace(result, points=(replace(result.points[0], rounds=rounds),))
    (seen,) = rejudged([old(agreed, *reasons, grade="D" if reasons else "B")])
    assert (seen.points[0].grade, seen.verdict and seen.verdict.word) == (grade, word)


def test_a_failed_result_of_schema_1_stays_failed_and_twice_is_once() -> None:
    failed = replace(factory.failed(), schema=1)
    assert rejudged([failed]) == [failed]
    once = rejudged([old(factory.result())])
    assert rejudged(once) == once
    metered, _ = reading.read_all(GPU)
    again = rejudged(metered)
    assert [(r.verdict, r.notes) for r in again] == [(r.verdict, r.notes) for r in metered]


def test_a_note_in_a_file_does_not_keep_an_older_verdict() -> None:
    kept, _ = files.read_all(GPU)
    noted = [replace(result, notes=(AGAIN, *result.notes)) for result in kept]
    for result, again in zip(rejudged(noted), rejudged(kept), strict=True):
        assert result == replace(again, notes=result.notes) and result.notes.count(AGAIN) == 1
        assert result.verdict is not None and result.verdict.word == "NOT RELIABLE"


def test_the_gate_reads_older_baselines_by_the_rules_of_today() -> None:
    results, _, _ = reading.read_known(GPU)
    found = check(results, results, Limits(energy=0.5, latency=0.5))
    assert {each.state for each in found} == {"UNKNOWN"}
    assert all("NOT RELIABLE" in each.detail for each in found)


def test_verify_compares_figures_of_schema_1_by_its_own_rules(tmp_path: Path) -> None:
    source = REFERENCE / "test-split" / "minilm-sst2"
    result = files.read(next(source.glob("bert_int8*.json")))
    assert result.trace is not None
    copy = tmp_path / "minilm-sst2" / "traces" / Path(result.trace).name
    copy.mkdir(parents=True)
    for file in (source / "traces" / copy.name).iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    path = files.write(tmp_path, result)
    clean = verify(path)
    assert clean.differences == () and clean.remark is not None and clean.figures > 500
    point = result.points[0]
    ratio = replace(point.ratios[0], latency=replace(point.ratios[0].latency, low=point.ratios[0].latency.low * 0.999))
    for changed, where in (
        (
            replace(point, latency_s=replace(point.latency_s, high=point.latency_s.high * 1.001)),
            "points[0].latency_s[2]",
        ),
        (replace(point, ratios=(ratio, *point.ratios[1:])), "points[0].ratios.fp32 eager.latency[1]"),
        (replace(point, rounds=(replace(point.rounds[0], cpu_s=1.0), *point.rounds[1:])), "points[0].rounds[0].cpu_s"),
    ):
        files.replace_file(path, replace(result, points=(changed,)))
        (line, *more) = verify(path).differences
        assert line.startswith(where), line
        assert more == []
    assert older.AGAIN not in result.notes
