"""Files that are no results: one line each, named, and the others are read."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compress.analysis.pareto import group
from compress.records.files import write
from compress.report.document import markdown
from tests import factory
from tests.damaged import Run, deep
from tests.helpers import ROOT

CPU = ROOT / "results" / "reference" / "minilm-sst2" / "bert_int8-cpu-a38d1377.json"
GPU = ROOT / "results" / "reference" / "gpu" / "minilm-sst2-b32-l64" / "graphs_bf16-cuda-39828e96.json"


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))  # an address has 108 letters at most


KINDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "fifo": (_fifo, "is a fifo"),
    "socket": (_socket, "is a socket"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "is a device"),
    "folder": (Path.mkdir, "is a folder"),
    "link to itself": (lambda path: path.symlink_to(path), "cannot be read"),
    "link to nothing": (lambda path: path.symlink_to(path.with_name("gone")), "no such result file"),
    "empty": (lambda path: path.write_bytes(b""), "not JSON"),
    "not UTF-8": (lambda path: path.write_bytes(b'{"schema": 1, "name": "\xff"}'), "not JSON"),
    "deep": (lambda path: path.write_bytes(b"[" * 100_000), "not JSON"),
    "half of a pair": (lambda path: path.write_bytes(b'{"schema": 1, "name": "\\ud800"}'), "not JSON"),
    "huge": (lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_RDWR), 10**10), "bytes; a result has at most"),
    "foreign": (lambda path: path.write_bytes(b'{"name": "package"}'), "result schema None"),
    "newer": (lambda path: path.write_bytes(b'{"schema": 3}'), "result schema 3"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_invalid_result_files_are_one_line_and_the_others_are_read(
    kind: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make, said = KINDS[kind]
    write(tmp_path / "results", factory.result("good"))
    bad = tmp_path / "results" / "stdlib-bert" / "bad.json"
    make(bad)
    if kind != "folder":  # that is asked for as a folder of results
        code, _, err = run("show", bad)
        assert code == 2 and err.count("\n") == 1 and said in err, err
        code, _, err = run("verify", bad)
        assert code == 2 and err.count("\n") == 1 and said in err, err
    code, out, err = run("show", tmp_path / "results")
    assert code == 0 and "good on stdlib-bert" in out and err.count("\n") == 1 and said in err, err


def test_a_table_is_made_of_a_folder_with_all_of_them(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "results", factory.result("good"))
    for number, (make, _) in enumerate(KINDS.values()):
        make(tmp_path / "results" / "stdlib-bert" / f"{number}.json")
    code, out, err = run("pareto", "results", "--out", "made")
    assert code == 0 and "good" in out and err.count("not read: ") == len(KINDS), err
    outside = {"device": "lies outside of the folder"}  # a link that leads there is not followed
    assert all(outside.get(kind, said) in err for kind, (_, said) in KINDS.items())


NAMES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a link to its own name": (lambda folder: (folder / "self.json").symlink_to("self.json"), "is a link to itself"),
    "a name that is not UTF-8": (
        lambda folder: (folder / os.fsdecode(b"caf\xe9.json")).write_text("{"),
        "has a name that cannot be printed",
    ),
}


@pytest.mark.parametrize("kind", NAMES)
def test_every_command_on_a_folder_passes_over_a_name_that_leads_nowhere(
    kind: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make, said = NAMES[kind]
    for folder in ("now", "then"):
        write(tmp_path / folder, factory.result("good"))
    make(tmp_path / "now" / "stdlib-bert")
    code, _, err = run("pareto", "now", "--out", "made")
    assert code == 0 and err.count("not read: ") == 1 and said in err, err
    assert said in (tmp_path / "made" / "pareto.md").read_text()
    assert (tmp_path / "made" / "pareto.csv").exists() and (tmp_path / "made" / "pareto.html").exists()
    limits = ("--baseline", "then", "--max-latency", "5%", "--junit", "checks.xml")
    code, out, err = run("check", "now", *limits)
    assert (
        code == 1 and "1 of 2 checks are unknown (not passed)" in out and said in (tmp_path / "checks.xml").read_text()
    ), err
    code, _, err = run("merge", "now", "then", "--out", "joined")
    assert code == 0 and "1 results in joined" in err and err.count("not read: ") == 1 and said in err, err


@pytest.mark.parametrize("stated", ["../traces/x", "traces/x"])
def test_a_trace_in_a_loop_of_links_is_one_sentence(stated: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "traces").symlink_to("traces")
    path = write(tmp_path, factory.result("good"))
    path.write_bytes(json.dumps({**json.loads(path.read_bytes()), "trace": stated}).encode())
    code, _, err = run("verify", path)
    assert code == 2 and err.count("\n") == 1 and err.startswith("error: ") and "its trace" in err, err


def _with(path: tuple[Any, ...], value: Any) -> bytes:
    data = json.loads(GPU.read_bytes())
    node = data
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return json.dumps(data).encode()


CORRELATION = ("points", 0, "ratios", 0, "correlation")
CORRELATED = {"value": 0.1, "error": 0.2, "upper": 0.3, "series": 3}
NOT_FIGURES = [
    (("points", 0, "latency_s", "value"), float("nan"), "points.0.latency_s"),
    (("points", 0, "latency_s", "value"), "0.1", "points.0.latency_s.value"),
    (("points", 0, "latency_s", "value"), -0.1, "points.0.latency_s"),
    (("points", 0, "ratios", 0, "latency", "value"), float("inf"), "points.0.ratios.0.latency"),
    (("points", 0, "ratios", 0, "energy", "low"), float("nan"), "points.0.ratios.0.energy"),
    (
        ("points", 0, "ratios", 0, "latency"),
        {"value": 0.1, "low": "-Infinity", "high": 0.2, "n": 6},
        "ratios.0.latency: its interval is -inf to 0.2; expected numbers of at least 0, or -inf to inf",
    ),
    (("points", 0, "latency_s", "low"), "-Infinity", "points.0.latency_s: its interval is -inf to"),
    (("accuracy", "estimate", "value"), float("nan"), "estimate.value is nan"),
    (("accuracy", "delta", "value"), float("inf"), "delta.value is inf"),
    (("accuracy", "delta", "low"), float("nan"), "interval of delta is NaN"),
    (("accuracy", "flip_rate"), float("nan"), "accuracy.flip_rate is nan"),
    (("transform", "seconds"), float("inf"), "transform.seconds is inf"),
    (("points", 0, "rounds", 0, "batches"), 0, "points.0.rounds.0.batches"),
    (("points", 0, "rounds", 0, "duration_s"), True, "points.0.rounds.0.duration_s"),
    (("name",), "x" * 20_000, "name: String should have at most 300"),
    (("workload", "name"), 3, "workload.name"),
    (("recipe", "steps"), [3], "recipe.steps.0"),
    (("machine", "details"), deep(40), "machine.details"),
    (("machine", "details", "x"), deep(40), "nested deeper"),
    (("size", "parameters"), 2**63, "size.parameters"),
    (("points", 0, "ratios", 0, "latency"), {"value": 0.1, "low": 0.9, "high": 0.01, "n": 6}, "points.0.ratios.0.lat"),
    (
        ("points", 0, "latency_s"),
        {"value": 0.1, "low": 0.01, "high": 0.09, "n": 6},
        "low, value and high in this order",
    ),
    (("accuracy", "estimate", "low"), 0.99999, "accuracy.estimate: value is"),
    (("accuracy", "delta", "high"), -0.99, "accuracy.delta: value is"),
    (
        ("breakeven",),
        {
            "inferences": {"value": 2.0, "low": 3.0, "high": "Infinity", "n": 6},
            "unit": "joules",
            "point": "p",
            "reason": None,
        },
        "breakeven.inferences: value is 2.0",
    ),
    (("accuracy", "estimate", "n"), 0, "accuracy.estimate.n"),
    (("limit",), 0, "limit: "),
    (("created",), "not a date", "created: 'not a date' is not a date"),
    (("created",), "2025-05-05T10:00:00", "is not a date with a time zone"),
    (("accuracy", "scale"), 0.0, "accuracy.scale: "),
    (("accuracy", "scale"), -1.0, "accuracy.scale: "),
    (("accuracy", "scale"), 1e-320, "accuracy.scale: "),
    (("accuracy", "delta"), {"value": 1e308, "low": 0.0, "high": "Infinity", "n": 9}, "delta has 1e+308"),
    (("accuracy", "delta"), {"value": 0.0, "low": -1e308, "high": 0.1, "n": 9}, "delta has -1e+308"),
    (
        ("breakeven",),
        {
            "inferences": {"value": 1e308, "low": 0.0, "high": "Infinity", "n": 6},
            "unit": "joules",
            "point": "p",
            "reason": None,
        },
        "breakeven.inferences: it has 1e+308",
    ),
    (
        ("breakeven",),
        {
            "inferences": {"value": "Infinity", "low": 0.0, "high": "Infinity", "n": 6},
            "unit": "joules",
            "point": "p",
            "reason": None,
        },
        "breakeven.inferences: value is inf",
    ),
    (
        ("points", 0, "latency_s"),
        {"value": 0.1, "low": 0.01, "high": 0.2, "n": 6, "degrees": 20_001},
        "points.0.latency_s.degrees: Input should be less than or equal to 20000",
    ),
    (CORRELATION, {**CORRELATED, "value": -1.1}, "correlation.value"),
    (CORRELATION, {**CORRELATED, "value": 1.1}, "correlation.value"),
    (CORRELATION, {**CORRELATED, "error": -0.1}, "correlation.error"),
    (CORRELATION, {**CORRELATED, "error": 10.1}, "correlation.error"),
    (CORRELATION, {**CORRELATED, "upper": -0.1}, "correlation.upper"),
    (CORRELATION, {**CORRELATED, "upper": 1.1}, "correlation.upper"),
    (("points", 0, "ratios", 0, "session_spread"), -0.1, "ratios.0.session_spread"),
    (("points", 0, "ratios", 0, "session_spread_energy"), 10.1, "ratios.0.session_spread_energy"),
    (("margin",), "101pt", "margin: expected at most 100 points"),
    (("accuracy", "higher_is_better"), False, "higher_is_better is False; expected True for accuracy"),
]


FIGURES = [
    {"value": 0.1, "low": "-Infinity", "high": "Infinity", "n": 1},
    {"value": 0.1, "low": 0.0, "high": "Infinity", "n": 2},
    {"value": 0.1, "low": 0.1 + 1e-12, "high": 0.1 - 1e-12, "n": 2},  # rounding
]


@pytest.mark.parametrize("estimate", FIGURES)
def test_an_interval_without_ends_or_off_by_rounding_is_one(estimate: Any, run: Run, tmp_path: Path) -> None:
    (tmp_path / "good.json").write_bytes(_with(("points", 0, "latency_s"), estimate))
    code, _, err = run("show", tmp_path / "good.json")
    assert code == 0, err


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("points", 0, "latency_s"), {"value": 0.1, "low": 0.01, "high": 0.2, "n": 6, "degrees": 20_000}),
        (CORRELATION, {"value": -1.0, "error": 10.0, "upper": 1.0, "series": 1}),
        (("points", 0, "ratios", 0, "session_spread"), 10.0),
        (("margin",), "100pt"),
    ],
)
def test_a_field_at_its_bound_is_read(path: tuple[Any, ...], value: Any, run: Run, tmp_path: Path) -> None:
    (tmp_path / "good.json").write_bytes(_with(path, value))
    code, _, err = run("show", tmp_path / "good.json")
    assert code == 0, err


@pytest.mark.parametrize(("path", "value", "said"), NOT_FIGURES)
def test_a_field_that_is_no_figure_is_named(
    path: tuple[Any, ...], value: Any, said: str, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "bad.json").write_bytes(_with(path, value))
    code, _, err = run("show", tmp_path / "bad.json")
    assert code == 2 and err.count("\n") == 1 and "not a result: " in err and said in err, err


def test_a_gate_stays_shut_where_a_result_is_damaged_and_passes_over_what_is_none(run: Run, tmp_path: Path) -> None:
    for name in ("now", "then"):
        write(tmp_path / name, factory.result("good"))
    limits = ("--max-latency", "5%")
    (tmp_path / "now" / "package.json").write_text('{"name": "x"}')
    code, out, err = run("check", tmp_path / "now", "--baseline", tmp_path / "then", *limits)
    assert code == 0 and "all 1 checks passed" in out and err.count("not read: ") == 1, err
    (tmp_path / "then" / "other.json").write_bytes(_with(("points", 0, "latency_s", "value"), float("nan")))
    code, out, err = run("check", tmp_path / "now", "--baseline", tmp_path / "then", *limits)
    assert code == 1 and "UNKNOWN" in out and "1 of 2 checks are unknown (not passed)" in out


def test_merge_goes_on_after_a_file_that_is_no_result(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "a", factory.result("one"))
    write(tmp_path / "b", replace(factory.result("two"), machine=factory.machine("m2")))
    (tmp_path / "b" / "bad.json").write_text("{")
    code, _, err = run("merge", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "out")
    assert code == 0 and "2 results in" in err and err.count("not read: ") == 1, err


@pytest.mark.parametrize("error", ["", " ", "\n\n"])
def test_a_failure_without_a_message_is_said_as_such(error: str, run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "now", factory.failed("good", error=error))
    write(tmp_path / "then", factory.result("good"))
    for command in (("verify", path), ("card", path), ("plot", path, "--kind", "points", "--out", tmp_path / "x.png")):
        code, _, err = run(*command)
        assert code == 2 and err.count("\n") == 1 and "without a message" in err, err
    code, out, _ = run("check", tmp_path / "now", "--baseline", tmp_path / "then", "--max-latency", "5%")
    assert code == 1 and "failed: without a message" in out


def test_a_workload_without_a_data_set_stands_by_itself(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = json.loads(CPU.read_bytes())
    del data["workload"]["dataset"]
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "a.json").write_text(json.dumps(data))
    assert run("pareto", "results", "--out", "made")[0] == 0
    assert run("check", "results", "--baseline", "results", "--max-latency", "5%", "--allow-undecided")[0] == 0


def test_a_control_character_of_a_metric_reaches_no_file(tmp_path: Path) -> None:
    odd = factory.result("good", accuracy=factory.accuracy(metric="m\x1b[2J|y", unit="points"))
    text = markdown(group([odd]))
    assert "\x1b" not in text and "m \\[2J\\|y" in text


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("field", ["recipe", "workload"])
def test_numbers_of_free_fields_are_finite(run: Run, tmp_path: Path, field: str, value: float) -> None:
    path = write(tmp_path, factory.result("bert_int8"))
    plain = json.loads(path.read_text())
    plain[field]["steps"] = [{"method": "quantize", "group_size": value}]
    path.write_text(json.dumps(plain))
    code, _, err = run("show", path)
    assert code == 2 and f"{field}: steps.0.group_size is {value}; expected a finite number" in err


@pytest.mark.parametrize("field", ["trace", "further_traces"])
def test_the_path_of_a_trace_that_is_too_long_is_bad_input(
    run: Run, tmp_path: Path, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "results", factory.result("bert_int8", trace="traces/s1"))
    write(tmp_path / "others", factory.result("bert_int8", machine=factory.machine("cpu-aaaaaaaa")))
    plain = json.loads(path.read_text())
    plain[field] = "u" * 500 if field == "trace" else ["u" * 500]
    path.write_text(json.dumps(plain))
    for command in (("verify", path), ("plot", path, "--kind", "trace", "--out", "a.png")):
        code, _, err = run(*command)
        assert code == 2 and err.count("error:") == 1
    assert "is no path (File name too long)" in err
    code, _, err = run("merge", "results", "others", "--out", "merged")
    assert code == 2 and "is no path (File name too long)" in err


def test_an_artifact_whose_path_is_too_long_is_bad_input(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path, factory.result("bert_int8", artifact="u" * 500, artifact_sha256="0" * 64))
    for command in (("plot", path, "--kind", "layers", "--out", tmp_path / "a.png"), ("card", path)):
        code, _, err = run(*command)
        assert code == 2, err


@pytest.mark.parametrize(
    "arguments",
    [("run", ""), ("pareto", "results", "--out", ""), ("pareto", "results", "--out="), ("show", "")],
    ids=["recipe", "option", "option=", "result"],
)
def test_an_empty_argument_is_not_this_folder(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "results", factory.result("good"))
    code, out, err = run(*arguments)
    assert code == 2 and not out and err.startswith("error: empty text") and err.count("\n") == 1
    assert ("after --out" in err) == (arguments[0] == "pareto")
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
