"""Results of schema 1 keep their figures and are judged again by today's rules when they are read."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from compress.analysis import older, reading
from compress.analysis.gate import Limits, check
from compress.analysis.older import AGAIN, rejudged
from compress.analysis.verify import recomputed, verify
from compress.records import files, trace
from compress.records.result import Result
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
def test_figures_stay_those_of_the_file(path: Path) -> None:
    stored, seen = files.read(path), reading.read(path)
    for old, new in zip((stored, *stored.references), (seen, *seen.references), strict=True):
        assert old.accuracy == new.accuracy
        for before, after in zip(old.points, new.points, strict=True):
            assert before.rounds == after.rounds
            assert (before.latency_s, before.energy_j, before.throughput_per_s, before.latency_percentiles_s) == (
                after.latency_s, after.energy_j, after.throughput_per_s, after.latency_percentiles_s
            )  # fmt: skip
            for ratio, again in zip(before.ratios, after.ratios, strict=True):
                assert (ratio.latency, ratio.energy) == (again.latency, again.energy)


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
    assert len(nets) < 8 and seen.value == pytest.approx(sum(nets) / len(nets))  # today's location
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
    assert rejudged(metered) == metered


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
