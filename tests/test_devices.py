"""What a device computes natively, by what its system says of it."""

from pathlib import Path

import pytest
import torch

from compress import devices


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
def test_bf16_is_native_where_it_is_gained_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, info: str, gains: bool
) -> None:
    (tmp_path / "cpuinfo").write_text(info)
    flags = devices.cpu_flags(tmp_path / "cpuinfo")
    monkeypatch.setattr(devices, "cpu_flags", lambda: flags)
    assert devices.computes_bf16(torch.device("cpu")) is gains
