"""A user's metric file gets copies, states its direction once, and fails in one line before anything is measured."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from compress.analysis import metrics
from compress.analysis.accuracy import Evaluation, summarise
from compress.analysis.metrics import foreign
from compress.base.config import InputError

SHARE = "return {'own': sum(p == r for p, r in zip(predictions, references)) / len(references)}"
SAMPLE = {"prediction": [0, 1, 1, 0], "reference": [0, 1, 0, 1]}
LANGUAGE = {"nll": [2.0, 3.0], "tokens": [2, 3], "bytes": [7, 9]}


def written(folder: Path, body: str = SHARE, in_class: str = "", in_module: str = "", columns: str = "") -> str:
    """A metric file of this code."""
    file = folder / "own.py"
    folder.mkdir(exist_ok=True)
    names = columns.split() or ["predictions", "references"]
    features = ", ".join(f"'{name}': datasets.Value('{'float64' if columns else 'int64'}')" for name in names)
    lines = [
        "import datasets, evaluate",
        in_module,
        "class Own(evaluate.Metric):",
        *(f"    {line}" for line in in_class.splitlines()),
        "    def _info(self):",
        f"        features = datasets.Features({{{features}}})",
        "        return evaluate.MetricInfo(description='', citation='', features=features)",
        f"    def _compute(self, {', '.join(names)}, **settings):",
        *(f"        {line}" for line in body.splitlines()),
    ]
    file.write_text("\n".join(lines) + "\n")
    return str(file)


DAMAGING = {
    "whole": {"in_module": "def whole(outcomes, classes):\n    outcomes['reference'].sort()\n    return {}"},
    "whole, and keeps it": {
        "in_module": "def whole(outcomes, classes):\n    return {'kept': outcomes['reference']}",
        "body": f"settings['kept'].sort()\n{SHARE}",
    },
    "compute": {"body": f"value = {SHARE.removeprefix('return ')}\nreferences.sort()\nreturn value"},
    "all of evaluate": {
        "in_class": "def compute(self, predictions, references):\n"
        "    'Return the share of right answers.'\n"
        "    value = sum(p == r for p, r in zip(predictions, references)) / len(references)\n"
        "    references.sort()\n"
        "    return {'own': value}"
    },
}


@pytest.mark.parametrize("code", DAMAGING.values(), ids=list(DAMAGING))
def test_a_metric_cannot_change_the_outcomes(tmp_path: Path, code: dict[str, str]) -> None:
    """Three of four answers are right, whatever order the code leaves its lists in."""
    prediction, reference = [0.0, 1.0, 0.0, 1.0] * 5, [0.0, 1.0, 0.0, 0.0] * 5
    evaluation = Evaluation({"prediction": prediction, "reference": reference}, True, 8, outputs=2)
    metric = written(tmp_path, **code)
    assert summarise(evaluation, metric, None, None, 0).estimate.value == 0.75
    assert metrics.compute(metric, evaluation.outcomes) == 0.75
    assert evaluation.outcomes == {
        "prediction": [0.0, 1.0, 0.0, 1.0] * 5,
        "reference": [0.0, 1.0, 0.0, 0.0] * 5,
    }


def test_direction_and_scale_are_read_from_module_or_class(tmp_path: Path) -> None:
    def stated(in_class: str = "", in_module: str = "") -> tuple[bool, float | None]:
        metric = written(tmp_path, in_class=in_class, in_module=in_module)
        return metrics.higher_is_better(metric), metrics.scale(metric)

    lower = "higher_is_better = False"
    assert stated() == (True, None)
    assert stated(in_class=f"{lower}\nscale = 100") == stated(in_module=f"{lower}\nscale = 100") == (False, 100.0)
    assert stated(in_class=lower, in_module=f"{lower}\nscale = 1") == (False, 1.0)
    assert stated(in_module="def __getattr__(name): raise RuntimeError(name)") == (True, None)
    with pytest.raises(InputError, match="higher_is_better is True in the module, but False in its class"):
        stated(in_class=lower, in_module="higher_is_better = True")
    with pytest.raises(InputError, match="scale is 1 in the module, but 100 in its class; expected it once"):
        stated(in_class="scale = 100", in_module="scale = 1")
    with pytest.raises(InputError, match="higher_is_better is 0; expected True or False"):
        stated(in_class="higher_is_better = 0")
    with pytest.raises(InputError, match="whole is part of its class; expected a function of the module"):
        metrics.whole(written(tmp_path, in_class="def whole(self, outcomes, classes): return {}"), SAMPLE)


RAISING = "class X:\n    def __float__(self): raise SystemExit(0)\nreturn {'own': X()}"
BAD_VALUES = {
    "keys of two types": ("return {1: .5, 'a': .3}", r"returned \[1, 'a'\]; expected one value, or one named 'own'"),
    "nothing": ("return None", "returned None; expected a mapping"),
    "a value that exits": (RAISING, r"own is a X; expected a number \(SystemExit: 0\)"),
    "a value that raises": (
        RAISING.replace("SystemExit(0)", "RuntimeError('no')"),
        r"own is a X; .* \(RuntimeError: no\)",
    ),
    "a large integer": ("return {'own': 10**400}", r"own is 10+\.\.\.; expected a number up to 1e\+250"),
    "an error without a text": (
        "class Odd(Exception):\n    def __str__(self): raise ValueError('no')\nraise Odd()",
        r"Odd: its text cannot be computed \(ValueError\)",
    ),
    "a mapping that raises": (
        "from collections import UserDict\nclass X(UserDict):\n    def __iter__(self): raise RuntimeError('no')\n"
        "return X(a=1)",
        "RuntimeError: no",
    ),
}


@pytest.mark.parametrize(("body", "said"), BAD_VALUES.values(), ids=list(BAD_VALUES))
def test_a_bad_value_is_one_line(tmp_path: Path, body: str, said: str) -> None:
    metric = written(tmp_path, body)
    with pytest.raises(InputError, match=f"^metric {metric}: {said}") as refused:
        metrics.trial(metric, SAMPLE)
    assert "\n" not in str(refused.value)


MORE_ROWS = {
    "exits": (f"import os\nif len(references) > 10: os._exit(0)\n{SHARE}", r"on 40 examples, .*\(exit code 0\)"),
    "loops": (f"while len(references) > 10: pass\n{SHARE}", r"on 40 examples, .*took over 1 s of processor time"),
    "exits on a resample": (
        f"import os\nif len(references) > 10 and self.data is None: os._exit(0)\n{SHARE}",
        r"on 40 examples, .*\(exit code 0\)",
    ),
    "interrupts": ("raise KeyboardInterrupt", "own.py: KeyboardInterrupt$"),
}


def test_a_metric_is_tried_on_as_many_rows_as_the_split_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(foreign, "SPLIT_S", 1.0)

    def tried(name: str) -> str:
        metric = written(tmp_path / name.replace(" ", "_"), MORE_ROWS[name][0])
        try:
            metrics.check(metric, SAMPLE, [0, 1] * 20)
        except InputError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(2) as pool:
        problems = dict(zip(MORE_ROWS, pool.map(tried, MORE_ROWS), strict=True))
    for name, (_, said) in MORE_ROWS.items():
        assert re.search(said, problems[name]), (name, problems[name])
    assert "Traceback" not in capfd.readouterr().err


def test_a_metric_without_labels_is_tried_on_as_many_rows_too(tmp_path: Path) -> None:
    metric = written(
        tmp_path,
        "import os\nif len(nll) > 10: os._exit(0)\nreturn {'own': sum(nll) / sum(tokens)}",
        columns="nll tokens",
    )
    metrics.check(metric, LANGUAGE, count=10)
    with pytest.raises(InputError, match=r"on 11 examples, as in the test split: ends the program \(exit code 0\)"):
        metrics.check(metric, LANGUAGE, count=11)
