"""Weights that are pickles are never opened: the error says how to convert them, and its line works."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from compress.base.config import InputError
from compress.data import loading, locate
from compress.data.workload import Workload
from tests.helpers import bert, environment, write_workload

COMMIT = "1" * 40


class Trap:
    """What runs when a pickle is opened carelessly."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('the pickle was opened')",)


@pytest.fixture
def pickled_workload(tmp_path: Path) -> Path:
    """A workload file whose model has its weights as a pickle."""
    path = write_workload(tmp_path, bert())
    (tmp_path / "model" / "model.safetensors").unlink()
    torch.save(bert().state_dict(), tmp_path / "model" / "pytorch_model.bin")
    return path


def test_the_line_that_a_folder_of_pickles_is_told_converts_it(pickled_workload: Path) -> None:
    with pytest.raises(InputError, match=r"pickles only \(pytorch_model\.bin\)") as refused:
        locate.resolve(Workload.load(str(pickled_workload)))
    told = str(refused.value)
    assert "weights_only" not in told and "\n" not in told
    command = re.search(r"python (-c .+); and use (\S+) as the model", told)
    assert command is not None
    done = subprocess.run(
        [sys.executable, *shlex.split(command.group(1))], cwd=pickled_workload.parent, env=environment(),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pickled_workload.write_text(pickled_workload.read_text().replace("model: model", f"model: {command.group(2)}"))
    model, _ = loading.load_model(locate.resolve(Workload.load(str(pickled_workload))))
    expected = bert().state_dict()  # seeded: the weights that the fixture pickled
    weights = model.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.pt", "model.ckpt"])
def test_a_pickle_is_not_opened(name: str, pickled_workload: Path) -> None:
    model = pickled_workload.parent / "model"
    (model / "pytorch_model.bin").unlink()
    torch.save(Trap(), model / name)
    with pytest.raises(InputError, match="pickles only"):
        locate.resolve(Workload.load(str(pickled_workload)))


def test_a_model_of_the_hub_is_refused_the_same(pickled_workload: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    cache = pickled_workload.parent / "cache"
    snapshot = cache / "models--me--old" / "snapshots" / COMMIT
    shutil.copytree(pickled_workload.parent / "model", snapshot)
    torch.save(Trap(), snapshot / "pytorch_model.bin")
    (cache / "models--me--old" / "refs").mkdir()
    (cache / "models--me--old" / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    pickled_workload.write_text(pickled_workload.read_text().replace("model: model", "model: me/old"))
    with pytest.raises(InputError, match=r"me/old: has its weights as pickles only \(pytorch_model\.bin\)"):
        locate.resolve(Workload.load(str(pickled_workload)))
