"""Results of several machines come together whole, and stand side by side by ratios only."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from compress.analysis.judging import judged
from compress.analysis.merge import machine_comparisons, merge
from compress.base.config import InputError
from compress.records import files as result_files
from compress.records import trace
from compress.records.result import Result
from compress.records.session import MeterFacts, Session
from compress.report import print_machines
from tests import factory
from tests.helpers import ROOT, compress

GPU = replace(factory.machine("g1", "cuda"), device_name="Example GPU")


def written(folder: Path, *results: Result) -> Path:
    for result in results:
        result_files.write(folder, result)
        if result.trace is not None:
            trace.write(folder / result.trace, Session((), MeterFacts(absent="none"), in_turn=result.session))
    return folder


def on_gpu(name: str, cost: float, **fields: Any) -> Result:
    return factory.result(name, cost, machine=GPU, energy_source="nvml", session="s2", trace="w/traces/s2", **fields)


def test_everything_comes_together_with_its_raw_samples(tmp_path: Path) -> None:
    a = written(tmp_path / "a", factory.result("bert_int8", 0.5, trace="w/traces/s1"), factory.failed("x"))
    b = written(tmp_path / "b", on_gpu("bert_int8", 1.2))
    out = tmp_path / "out"
    merged = merge([a, b], out)
    assert {(r.name, r.machine.id) for r in merged.results} == {("bert_int8", "m1"), ("bert_int8", "g1"), ("x", "m1")}
    assert merged.superseded == merged.untraced == ()
    assert all(trace.read(out / f"w/traces/{s}").in_turn == s for s in ("s1", "s2"))
    found, problems = result_files.read_all(out)
    assert len(found) == 3 and not problems
    again = merge([a, b], out)  # what is there takes part, and is not its own rival
    assert len(again.results) == 3 and again.superseded == ()


@pytest.mark.parametrize("damage", [*trace.FILES[:5], "no JSON"])
def test_a_trace_without_one_of_its_parts_counts_as_missing(damage: str, tmp_path: Path) -> None:
    a = written(tmp_path / "a", factory.result("whole", 0.5, trace="w/traces/s1"))
    b = written(tmp_path / "b", on_gpu("partial", 1.2))
    if damage == "no JSON":
        (b / "w/traces/s2/session.json").write_bytes(b"{")
    else:
        (b / "w/traces/s2" / damage).unlink()
    assert merge([a, b], tmp_path / "out").untraced == ("partial",)


def test_merged_results_can_be_computed_again_from_the_raw_samples_that_came_with_them(tmp_path: Path) -> None:
    merged = merge([ROOT / "results/reference/test-split"], tmp_path)
    assert merged.untraced == ()
    place = result_files.result_path(tmp_path, "minilm-sst2", "bert_int8", merged.results[0].machine.id, None)
    assert "0 differ" in compress("verify", place, cwd=tmp_path).stdout


def test_a_folder_of_one_workload_brings_its_raw_samples_too(tmp_path: Path) -> None:
    places = [ROOT / "results/reference/minilm-sst2", ROOT / "results/reference/amx/validation"]
    merged = merge(places, tmp_path)
    assert merged.untraced == ()
    assert len({result.machine.id for result in merged.results}) == 2
    for result in merged.results[:1]:
        place = tmp_path / result_files.own_path(result)
        assert "0 differ" in compress("verify", place, cwd=tmp_path).stdout


def test_of_one_machine_the_newest_result_stays_and_the_other_is_named(tmp_path: Path) -> None:
    old = factory.result("bert_int8", 0.9, created="2025-01-01T00:00:00+00:00", session="s0", trace="t/traces/s0")
    a, b = written(tmp_path / "a", old), written(tmp_path / "b", factory.result("bert_int8", 0.5))
    for order in ([a, b], [b, a]):
        out = tmp_path / f"out-{order[0].name}"
        merged = merge(order, out)
        assert [r.created for r in merged.results] == ["2025-05-05T10:00:00+00:00"]
        assert merged.superseded == ("bert_int8 on Example CPU, 2 cores, 2025-01-01T00:00:00+00:00",)
        assert merged.untraced == ("bert_int8",)
        assert not (out / "t").exists()


def test_folders_that_cannot_be_merged_are_refused_before_writing(tmp_path: Path) -> None:
    a = written(tmp_path / "a", factory.result())
    other = {"name": "stdlib-bert", "model": "mine", "dataset": {"path": "elsewhere"}}
    b = written(tmp_path / "b", factory.result(workload=other))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError) as refused:
        merge([a, b, tmp_path / "empty"], tmp_path / "out")
    assert [("two workloads have the same name" in p, "no results in it" in p) for p in refused.value.problems] == [
        (True, False),
        (False, True),
    ]
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="at least two folders"):
        merge([a], tmp_path / "out")
    sly = written(tmp_path / "c", on_gpu("x", 1.0))
    result_files.write(sly, replace(on_gpu("x", 1.0), trace="../../secret"))
    with pytest.raises(InputError, match="its trace lies outside of the folder"):
        merge([a, sly], tmp_path / "out2")


def test_machines_stand_side_by_side_by_ratios_to_their_own_references() -> None:
    ours = [factory.result("bert_int8", 0.5), factory.result("bert_bf16", 0.6)]
    (side,) = machine_comparisons([*ours, on_gpu("bert_int8", 1.2)])
    assert len(side.machines) == 2
    assert any("Example GPU (g1): energy / fp32 eager" in m for m in side.machines)
    assert any("Example CPU, 2 cores (m1): latency / fp32 eager" in m for m in side.machines)
    rows = {row.name: [None if c is None else round(c.value, 3) for c in row.costs] for row in side.rows}
    assert sorted(rows["bert_int8"]) == [0.5, 1.2]
    assert sorted(rows["bert_bf16"], key=str) == [0.6, None]
    assert machine_comparisons(ours) == []


def test_disturbed_measurements_are_marked_on_their_machine_only(capsys: pytest.CaptureFixture[str]) -> None:
    there = on_gpu("bert_int8", 1.2)
    spoiled = judged(replace(there, points=tuple(replace(p, unreliable=("it throttled",)) for p in there.points)))
    (side,) = machine_comparisons([factory.result("bert_int8", 0.5), spoiled])
    marks = {row.name: dict(zip(side.machines, row.unreliable, strict=True)) for row in side.rows}
    assert [name for name, marked in marks["bert_int8"].items() if marked] == ["Example GPU (g1): energy / fp32 eager"]
    print_machines([side], Console(width=100))
    assert capsys.readouterr().out.count("NOT RELIABLE") == 1


def test_the_command_joins_and_shows(tmp_path: Path) -> None:
    a = written(tmp_path / "a", factory.result("bert_int8", 0.5))
    b = written(tmp_path / "b", on_gpu("bert_int8", 1.2))
    done = compress("merge", a, b, "--out", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "0.500" in done.stdout and "1.20" in done.stdout and "2 results in" in done.stderr
    done = compress("merge", a, "--out", tmp_path / "new", cwd=tmp_path)
    assert done.returncode == 2 and "at least two folders" in done.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: json.dumps({**json.loads(data), "schema": 99}).encode(), "result schema 99"),
        (lambda data: data[:100], "not JSON"),
        (lambda data: data.replace(b'"bert_int8"', b'"other"', 1), "holds the result of"),
    ],
)
def test_other_files_in_out_are_never_overwritten(change: Any, said: str, tmp_path: Path) -> None:
    a, b = written(tmp_path / "a", factory.result("bert_int8")), written(tmp_path / "b", on_gpu("bert_int8", 1.2))
    out = written(tmp_path / "out", factory.result("bert_int8"))
    (file,) = out.rglob("*.json")
    file.write_bytes(change(file.read_bytes()))
    before = file.read_bytes()
    with pytest.raises(InputError, match=said):
        merge([a, b], out)
    assert [path.read_bytes() for path in out.rglob("*.json")] == [before]


def test_the_newer_of_two_zones_is_the_later_moment(tmp_path: Path) -> None:
    later = written(tmp_path / "a", factory.result("x", session="s2", created="2025-05-05T20:00:00+00:00"))
    sooner = written(tmp_path / "b", factory.result("x", session="s1", created="2025-05-05T23:00:00+09:00"))
    for order in ([later, sooner], [sooner, later]):
        assert [r.session for r in merge(order, tmp_path / f"out-{order[0].name}").results] == ["s2"]
