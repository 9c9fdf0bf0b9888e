"""Compiling quanto's kernels: a build that was killed delays the next one, and ends it never. Nothing is compiled."""

import importlib.util
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from compress.base.config import InputError
from compress.model.packing import kernels


@pytest.fixture
def baton(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The baton of a build that nobody runs, untouched for an hour."""
    monkeypatch.setenv("COMPRESS_LOCKS", str(tmp_path))
    monkeypatch.setattr(kernels, "LOOK_S", 0.01)
    monkeypatch.setattr(kernels, "REMIND_S", 0.02)
    file = tmp_path / "build" / "lock"
    file.parent.mkdir()
    file.touch()
    age(file)
    return file


def age(file: Path) -> None:
    before = time.time() - 3600
    for path in (file, *(file.parent.iterdir())):
        os.utime(path, (before, before))


def test_a_baton_that_a_killed_build_left_is_removed(baton: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with kernels.building([baton.parent, baton.parent.parent / "no-such-folder"]):
        assert not baton.exists()
    assert f"removed {baton}" in capsys.readouterr().err


def test_a_running_build_is_waited_for_with_a_line_that_names_its_baton(
    baton: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks: list[float] = []

    def slept(seconds: float) -> None:
        looks.append(seconds)
        threads_time(0.02)
        if len(looks) == 5:
            holder.close()
            baton.unlink()

    threads_time = time.sleep
    monkeypatch.setattr("compress.model.packing.kernels.time.sleep", slept)
    holder = baton.open()
    with kernels.building([baton.parent]):
        assert len(looks) == 5
    said = capsys.readouterr().err
    assert f"waiting for {baton}" in said and "removed" not in said


def test_a_build_whose_files_change_is_not_taken_for_a_killed_one(baton: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (baton.parent / "unpack.o").touch()
    looks: list[float] = []

    def slept(seconds: float) -> None:
        looks.append(seconds)
        assert baton.exists()
        if len(looks) == 3:
            age(baton)

    monkeypatch.setattr("compress.model.packing.kernels.time.sleep", slept)
    with kernels.building([baton.parent]):
        assert len(looks) == 3 and not baton.exists()


def test_a_baton_that_cannot_be_removed_is_named(baton: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path == baton:
            raise PermissionError(13, "Permission denied")
        remove(path, missing_ok)

    remove = Path.unlink
    monkeypatch.setattr(Path, "unlink", unlink)
    with (
        pytest.raises(InputError, match=r"build/lock: was left by a killed build and cannot be removed"),
        kernels.building([baton.parent]),
    ):
        pytest.fail("the build starts")


def test_quanto_compiles_without_the_baton_of_a_killed_build(baton: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = pytest.importorskip("compress.model.packing.quanto").__spec__
    quanto = importlib.util.module_from_spec(spec)  # of its own: the package's may have compiled before
    spec.loader.exec_module(quanto)
    compiled: list[bool] = []
    monkeypatch.setattr(quanto, "is_extension_available", lambda name: name == "quanto_cpp")
    monkeypatch.setattr(quanto, "get_extension", lambda _: SimpleNamespace(build_directory=str(baton.parent)))
    monkeypatch.setattr(quanto.shutil, "which", lambda tool: tool)
    monkeypatch.setattr(quanto.torch.ops.quanto, "unpack", lambda *_: compiled.append(baton.exists()))
    quanto.make(torch.nn.Linear(64, 8), {"group_size": 32})
    assert compiled == [False]
