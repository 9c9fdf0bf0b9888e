"""What cannot be a recipe, a workload or an option is one clear error, whatever its size, and output goes anywhere."""

import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from compress.analysis import metrics
from compress.analysis.metrics import foreign
from compress.base.config import InputError, parse_assignment
from compress.base.devices import pick
from compress.base.yaml import parse_yaml
from compress.data import hub
from compress.data.tasks import labels
from compress.data.tasks.classes import SAMPLE_OUTCOMES
from compress.data.workload import Workload
from compress.spec.recipe import Recipe
from tests.helpers import ROOT
from tests.refusals import OPTIONS, RECIPES, WORKLOADS, option, recipe, workload

RESULT = ROOT / "results" / "reference" / "minilm-sst2" / "bert_int8-cpu-a38d1377.json"


@pytest.mark.parametrize(("text", "said"), RECIPES.values(), ids=list(RECIPES))
def test_a_recipe_that_is_none_is_one_clear_error(text: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        recipe(text)
    assert said in str(refused.value) and len(refused.value.problems) <= 21
    assert all(len(problem) < 600 and "\n" not in problem for problem in refused.value.problems)


@pytest.mark.parametrize(("text", "said"), WORKLOADS.values(), ids=list(WORKLOADS))
def test_a_workload_that_is_none_is_one_clear_error(text: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        workload(text)
    assert said in str(refused.value)


@pytest.mark.parametrize(("texts", "said"), OPTIONS.values(), ids=list(OPTIONS))
def test_an_option_that_is_none_is_one_clear_error(texts: list[str], said: str) -> None:
    with pytest.raises(InputError) as refused:
        option(texts)
    assert said in str(refused.value)


def test_a_date_is_text() -> None:
    assert parse_yaml("name: 2020-13-45\nother: 2020-01-01", "x")[0] == {"name": "2020-13-45", "other": "2020-01-01"}
    assert parse_assignment("name=2020-01-01") == ("name", "2020-01-01")


@pytest.mark.parametrize("value", ["--1", "-", "1-", "²", "٣", "1" * 5000])
def test_a_label_that_is_neither_a_number_nor_a_name_is_refused(value: str) -> None:
    import datasets
    from transformers import BertConfig

    with pytest.raises(InputError, match="neither a number nor a label"):
        labels.read(datasets.Dataset.from_dict({"label": ["0", value]}), "label", BertConfig(num_labels=2))


@pytest.mark.parametrize("name", ["a..b/c", "a--b/c", "a/b-", "a./b", "x" * 200, "a/b.git", "a/b/c", "../a"])
def test_a_name_that_the_hub_cannot_have_is_no_id(name: str) -> None:
    assert not hub.is_id(name)


def test_a_device_is_numbered_in_ascii_digits() -> None:
    with pytest.raises(InputError, match="unknown"):
        pick("cuda:²")


def test_a_file_that_blocks_or_never_ends_is_refused_unopened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.yaml")
    with pytest.raises(InputError, match="is a fifo"):
        Recipe.load(tmp_path / "fifo.yaml")
    with pytest.raises(InputError, match="is a device"):
        Workload.load("/dev/zero")
    for name in ("x" * 5000, "a/" * 3000, "nul\0.yaml"):
        with pytest.raises(InputError):
            Recipe.load(name)


METRIC = """
import datasets, evaluate
{top}
class Own(evaluate.Metric):
    def _info(self):
        features = datasets.Features({{"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)
    def _compute(self, predictions, references):
        {body}
"""
UNKIND = {
    "exits at import": ("import sys; sys.exit(3)", "return {'own': 1.0}", "cannot be imported: ends the program"),
    "exits": ("import sys", "sys.exit(0)", "ends the program"),
    "raises what is no Exception": ("", "raise GeneratorExit('x')", "GeneratorExit"),
    "recurses": ("def f(): return f()", "return f()", "RecursionError"),
    "gives text": ("", "return {'own': 'high'}", "expected a number"),
    "gives a list": ("", "return [1, 2]", "returned a list"),
}


@pytest.mark.parametrize(("top", "body", "said"), UNKIND.values(), ids=list(UNKIND))
def test_a_metric_file_cannot_end_this_process(top: str, body: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(METRIC.format(top=top, body=body))
    with pytest.raises(InputError, match=said):
        metrics.trial(str(tmp_path / "own.py"), SAMPLE_OUTCOMES)


WORSE = {
    "loops": ("", "\n        while True:\n            pass", "took over 0.5 s of processor time; does it loop"),
    "loops in C": ("sum(iter(int, 1))", "pass", "imported: took over 1 s of processor time; does it loop"),
    "exits at once": ("import os\nos._exit(0)", "return {'own': 1.0}", "cannot be imported: ends the program"),
    "asks, and leaves a thread": (
        "import threading as t\nt.Thread(target=t.Event().wait).start()",
        "input()",
        "EOFError",
    ),
}


def test_a_metric_file_is_tried_in_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In any thread, beside the threads of other libraries, and without a signal or a timer of this process."""
    import onnxruntime  # noqa: F401
    import openvino  # noqa: F401
    import torch

    monkeypatch.setattr(foreign, "MADE_S", 0.5)
    monkeypatch.setattr(foreign, "IMPORT_S", 1.0)
    assert torch.ones(300, 300).mm(torch.ones(300, 300)).sum() > 0
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]

    def refusal_of(name: str) -> str:
        top, body, _ = WORSE[name]
        file = tmp_path / name.partition(",")[0].replace(" ", "_") / "own.py"
        file.parent.mkdir()
        file.write_text(METRIC.format(top=top, body=body))
        with pytest.raises(InputError) as refused:
            metrics.check(str(file), SAMPLE_OUTCOMES)
        assert str(file) in str(refused.value)
        return str(refused.value)

    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(WORSE, pool.map(refusal_of, WORSE), strict=True))
    for name, (_, _, said) in WORSE.items():
        assert re.search(said, found[name]), (name, found[name])
    assert [signal.getsignal(number) for number in signal.valid_signals()] == handlers
    assert signal.getitimer(signal.ITIMER_PROF) == signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_a_metric_file_that_waits_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "WAIT_S", 0.2)
    (tmp_path / "own.py").write_text(METRIC.format(top="import time\ntime.sleep(1000)", body="pass"))
    with pytest.raises(InputError, match=r"own.py: .*took over 0.2 s; does it wait"):
        metrics.check(str(tmp_path / "own.py"), SAMPLE_OUTCOMES)


def test_a_metric_file_finds_what_this_process_can_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "shares.py").write_text("HALF = 0.5")
    monkeypatch.syspath_prepend(tmp_path / "beside")
    (tmp_path / "own.py").write_text(METRIC.format(top="from shares import HALF", body="return {'own': HALF}"))
    metrics.check(str(tmp_path / "own.py"), SAMPLE_OUTCOMES)


def test_what_a_metric_file_prints_is_kept_out_of_the_output(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own.py").write_text(METRIC.format(top="print('at import')", body="print('it'); return {'own': 0.5}"))
    metrics.check(str(tmp_path / "own.py"), SAMPLE_OUTCOMES, [0, 1])
    out, err = capfd.readouterr()
    assert out == "" and "at import" in err and "it\n" in err


def run_command(*arguments: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    command = [sys.executable, "-m", "compress", *map(str, arguments)]
    return subprocess.run(command, env=environment, check=False, stderr=subprocess.PIPE, **options)


PLAIN_C = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("env", [{"PYTHONIOENCODING": "latin-1"}, PLAIN_C], ids=["latin-1", "LC_ALL=C"])
def test_a_table_is_spelled_in_the_terminals_encoding(env: dict[str, str], tmp_path: Path) -> None:
    done = run_command("pareto", RESULT.parent, "--out", tmp_path / "é", stdout=subprocess.PIPE, env=env)
    assert done.returncode == 0 and b"Traceback" not in done.stderr, done.stderr
    assert b"* is on the front" in done.stdout


def test_output_that_cannot_be_written_ends_in_one_sentence() -> None:
    with Path("/dev/full").open("wb") as full:
        done = run_command("show", RESULT, stdout=full)
        assert done.returncode == 1 and done.stderr.count(b"\n") == 1 and b"No space left" in done.stderr, done.stderr
    reading, writing = os.pipe()
    os.close(reading)
    done = run_command("show", RESULT, stdout=writing)
    os.close(writing)
    assert done.returncode == 141 and done.stderr == b""
    closed = subprocess.run(
        ["sh", "-c", '"$0" -m compress show "$1" >&- 2>&-', sys.executable, str(RESULT)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert closed.returncode == 0
