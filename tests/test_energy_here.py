"""The lines of docs/energy-here.md that read sensors, run on made files of the kernel."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import ROOT

PAGE = (ROOT / "docs" / "energy-here.md").read_text()
SYSFS = "/sys/class/hwmon"


def logged(heading: str, hwmon: Path) -> float:
    """Run the indented lines below a heading on this folder of sensors; return the watts that they log."""
    section = PAGE.partition(f"### {heading}\n")[2].partition("\n### ")[0]
    code = "\n".join(re.findall(r"^    (.+)$", section, re.MULTILINE))
    assert SYSFS in code
    found: list[float] = []

    def log(watts: Callable[[], float], file: str, seconds: float) -> None:
        assert file == "power.csv" and seconds > 0
        found.append(watts())

    names: dict[str, Any] = {"Path": Path, "log": log}
    exec(code.replace(SYSFS, str(hwmon)), names)
    (watts,) = found
    return watts


def sensor(folder: Path, **files: str) -> None:
    """Write the files of one sensor, each with an end of line, as the kernel does."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_text(f"{content}\n")


@pytest.mark.parametrize(
    ("files", "watts"),
    [
        ({"power1_average": "250000000"}, 250.0),
        ({"power1_input": "120500000"}, 120.5),
        ({"power1_average": "250000000", "power1_input": "120500000", "power1_cap": "300000000"}, 250.0),
    ],
    ids=["average", "input", "both"],
)
def test_an_amd_board_is_read_by_either_name_of_its_power(files: dict[str, str], watts: float, tmp_path: Path) -> None:
    sensor(tmp_path / "hwmon0", name="nvme", power1_input="9000000")
    sensor(tmp_path / "hwmon1", name="amdgpu", **files)
    assert logged("AMD GPU", tmp_path) == watts


def test_the_rail_of_a_jetson_is_the_one_with_the_chosen_label(tmp_path: Path) -> None:
    sensor(tmp_path / "hwmon0", name="ina3221", in1_label="VDD_GPU", in1_input="5000", curr1_input="100")
    sensor(
        tmp_path / "hwmon1", name="ina3221", in1_label="VDD_CPU", in1_input="5000", curr1_input="200",
        in2_label="VDD_IN", in2_input="19000", curr2_input="1500",
    )  # fmt: skip
    assert logged("NVIDIA Jetson", tmp_path) == pytest.approx(19.0 * 1.5)
