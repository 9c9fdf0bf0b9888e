"""What a device computes natively, by what its system says of it."""

from pathlib import Path

import pytest
import torch

from compress.base import devices
from compress.data import locate
from compress.data.workload import Workload
from compress.energy import block
from compress.energy.meters import Absent
from compress.harness import transform
from compress.model import artifact
from compress.spec.recipe import Recipe


@pytest.mark.parametrize(
    ("info", "gains"),
    [
        ("vendor_id : GenuineIntel\nflags : fpu avx512f avx512_bf16 amx_bf16\n", True),
        ("vendor_id : GenuineIntel\nflags : fpu avx512f avx512_bf16 avx512_vnni\n", False),
        ("vendor_id : AuthenticAMD\nflags : fpu avx512f avx512_bf16\n", True),
        ("vendor_id : AuthenticAMD\nflags : fpu avx2\n", False),
        ("processor : 0\nFeatures : fp asimd bf16 i8mm\n", True),
        ("model name : unknown\n", False),
    ],
    ids=["amx", "intel without amx", "zen 4", "zen 3", "arm", "untold"],
)
def test_bf16_is_native_where_it_is_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, info: str, gains: bool
) -> None:
    (tmp_path / "cpuinfo").write_text(info)
    flags = devices.cpu_flags(tmp_path / "cpuinfo")
    monkeypatch.setattr(devices, "cpu_flags", lambda: flags)
    assert devices.computes_bf16(torch.device("cpu")) is gains


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (["lowrank"], True),
        (["lowrank", "cast"], False),
        (["cast", "int8"], False),
        (["int8"], True),
        ([], False),
    ],
    ids=["lowrank", "lowrank-cast", "cast-int8", "int8", "dense"],
)
def test_a_model_left_in_fp32_says_so_where_verdicts_are_against_half_precision(
    steps: list[str], said: bool, workload: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {
        "lowrank": {"method": "lowrank", "rank": 8},
        "cast": {"method": "cast"},
        "int8": {"method": "quantize", "bits": 8, "format": "llm_int8"},
    }
    monkeypatch.setattr(transform, "computes_bf16", lambda device: True)
    found = locate.resolve(Workload.load(str(workload)))
    recipe = Recipe.model_validate({"steps": [known[step] for step in steps]})
    transform.build(recipe, found, torch.device("cpu"), tmp_path / "a", tmp_path / "w", Absent("none here"), "")
    assert (transform.IN_FP32 in artifact.verify(tmp_path / "a").extra["notes"]) is said


def test_a_process_that_only_asked_for_a_gpus_properties_is_not_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    for contexts, held in ((set(), False), ({1}, True)):
        has = contexts.__contains__
        monkeypatch.setattr(torch._C, "_cuda_hasPrimaryContext", has, raising=False)
        assert block.holds_gpu() is held
    monkeypatch.delattr(torch._C, "_cuda_hasPrimaryContext")
    assert block.holds_gpu()  # a torch that does not tell: to be safe
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    assert not block.holds_gpu()
