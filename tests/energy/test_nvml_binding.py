"""The real binding: pynvml itself loads a small C library with NVML's functions, on a machine without a GPU."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT

PROGRAM = """
import time
import os
from compress.energy.meters import Absent
from compress.energy.meters import Gpu
from compress.energy import nvml
from compress.energy.block import metered
meter = nvml.find(Gpu(os.environ.get("CUDA_UUID"), "00000000:3B:00.0", "Stub H200", 140 * 2**30))
if isinstance(meter, Absent):
    print("absent:", meter.reason)
else:
    if type(meter) is nvml.NvmlCounter:
        meter.step_s = 0.2  # ten of its movements: a busy machine's thread still sees one near each edge
    print(type(meter).__name__, meter.boundary)
    print(dict(meter.state()), meter.processes())
    with metered(meter) as spent:
        time.sleep(1.5)
    watts = [joules and joules / spent.seconds for joules in (spent.low_j, spent.energy_j, spent.high_j)]
    print(*watts, spent.reason)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with libnvidia-ml.so.1."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler here to build the stand-in for NVML")
    folder = tmp_path_factory.mktemp("nvml")
    target = folder / "libnvidia-ml.so.1"
    source = ROOT / "tests" / "nvml_stub.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(target), str(source)], check=True)
    return folder


def program_lines(library: Path, uuid: str | None = "stub", **faults: str) -> list[str]:
    """Lines that the program prints with the library in place of the driver's."""
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library), "PYTHONPATH": str(ROOT), **faults}
    environment |= {} if uuid is None else {"CUDA_UUID": uuid}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("uuid", [None, "of-an-instance-that-nvml-does-not-know"])
def test_without_a_uuid_that_nvml_knows_the_board_is_found_by_its_pci_address(library: Path, uuid: str | None) -> None:
    assert program_lines(library, uuid)[0] == "NvmlCounter GPU board Stub H200"


def test_the_real_binding_reads_counter_power_clocks_and_processes(library: Path) -> None:
    kind, state, power = program_lines(library)
    assert kind == "NvmlCounter GPU board Stub H200"
    assert "'power_mw': 150000" in state
    assert "'sm_mhz': 1980" in state
    assert "'events': 4" in state
    assert state.endswith("(11, 12)")
    low, watts, high, reason = power.split(" ", 3)
    assert reason == "None"
    assert float(low) <= 150.001
    assert float(high) >= 149.999
    assert float(watts) == pytest.approx(150, rel=0.05)


def test_a_board_whose_counter_is_missing_is_integrated(library: Path) -> None:
    kind, _, power = program_lines(library, STUB_ENERGY="3")
    assert kind.startswith("Integrated GPU board Stub H200, power integrated")
    assert float(power.split()[1]) == pytest.approx(150, rel=0.2)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"STUB_INIT": "9"}, "driver is not loaded"),
        ({"STUB_INIT": "18"}, "reboot after a driver update"),
        ({"STUB_NAME": "15"}, "fallen off the bus"),
        ({"STUB_ENERGY": "4"}, "no permission"),
        ({"STUB_MIG_ON": "1"}, "MIG is enabled"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_the_real_bindings_errors_become_sentences(library: Path, fault: dict[str, str], words: str) -> None:
    (line,) = program_lines(library, **fault)
    assert line.startswith("absent:")
    assert words in line


def test_without_the_library_the_reason_says_what_to_install(tmp_path: Path) -> None:
    if any(Path(folder, "libnvidia-ml.so.1").exists() for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib64")):
        pytest.skip("this machine has NVML")
    (line,) = program_lines(tmp_path)
    assert "install the driver" in line


def test_every_error_that_a_reading_can_give_becomes_a_sentence_with_what_to_do() -> None:
    import pynvml

    from compress.energy.nvml import REASONS, sentence

    of_settings = {"ALREADY_INITIALIZED", "INSUFFICIENT_SIZE", "VGPU_ECC_NOT_SUPPORTED", "FREQ_NOT_SUPPORTED",
                   "RESET_TYPE_NOT_SUPPORTED"}  # fmt: skip  # of calls that we do not make
    names = {name for name in vars(pynvml) if name.startswith("NVML_ERROR_")}
    assert names - {f"NVML_ERROR_{name}" for name in of_settings} == set(REASONS)
    for name in names:
        told = sentence(pynvml, pynvml.NVMLError(getattr(pynvml, name)))
        assert told == REASONS.get(name, told)
        assert name in REASONS or "nvidia-smi" in told
