"""A device is parsed once: texts, values, presence, and no second parser in the package."""

import ast
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from compress.base.config import InputError
from compress.base.device import CPU, Device
from compress.base.devices import AbsentDeviceError, device_of, pick, torch_device, torch_devices
from compress.base.processes import pinned
from compress.base.ranks import local_device
from tests import factory
from tests.helpers import ROOT, environment

GPU = Device("cuda")
VALUES = {
    "cpu": CPU,
    "cuda": GPU,
    "cuda:0": Device("cuda", (0,)),
    "cuda:11": Device("cuda", (11,)),
    "cuda:1,cuda:0": Device("cuda", (1, 0)),
}
UNKNOWN = [
    "",
    "auto",
    "CPU",
    "tpu",
    "mps",
    "cpu:0",
    "cuda:",
    "cuda:-1",
    "cuda:01",
    "cuda:²",
    "cuda:1:2",
    "cuda:" + "9" * 10,
]
NOT_SEVERAL = ["cpu,cpu", "cuda,cuda:1", "cpu,cuda:0", "cuda:0,cuda:0", "auto,cuda:0"]
PARSER = ROOT / "compress" / "base" / "device.py"
PARSES = frozenset({"startswith", "removeprefix", "partition", "rpartition", "split", "rsplit"})
"""Methods that take a text apart."""
TEXTS = frozenset({"str", "Sequence[str]", "Iterable[str]", "tuple[str, ...]", "list[str]"})


@pytest.mark.parametrize(("text", "value"), VALUES.items(), ids=VALUES)
def test_a_text_and_its_value_convert_both_ways(text: str, value: Device) -> None:
    assert Device.parse(text) == Device.parse(f" {text} ") == value
    assert str(value) == f"{value}" == text
    assert factory.machine(device=text).target == value


def test_different_texts_are_different_devices() -> None:
    assert all(one != other for one, other in itertools.combinations(VALUES.values(), 2))
    assert len({*VALUES.values(), *map(Device.parse, VALUES)}) == len(VALUES)


@pytest.mark.parametrize("text", UNKNOWN)
def test_an_unknown_text_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="unknown; expected auto, cpu, cuda, cuda:N or cuda:0,cuda:1"):
        Device.parse(text)


@pytest.mark.parametrize("text", NOT_SEVERAL)
def test_several_devices_are_different_gpus_by_number(text: str) -> None:
    with pytest.raises(InputError, match="expected different GPUs by number, such as cuda:0,cuda:1"):
        Device.parse(text)


def test_a_device_knows_its_parts() -> None:
    both = Device("cuda", (1, 0))
    assert both.parts == (Device("cuda", (1,)), Device("cuda", (0,)))
    assert both.first == Device("cuda", (1,))
    assert (both.several, both.on_gpu) == (True, True)
    for single in (CPU, GPU, Device("cuda", (1,))):
        assert single.parts == (single,)
        assert not single.several
    assert not CPU.on_gpu


def test_torchs_devices_are_those_of_the_value() -> None:
    assert torch_devices(Device("cuda", (1, 0))) == (torch.device("cuda:1"), torch.device("cuda:0"))
    for single in (CPU, GPU, Device("cuda", (1,))):
        assert torch_device(single) == torch.device(str(single))
        assert device_of(torch_device(single)) == single
    assert device_of(torch.device("meta")) == CPU


def test_auto_is_what_the_machine_has_and_an_absent_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for available, best in ((True, GPU), (False, CPU)):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=available: there)
        assert pick("auto") == pick(best) == best
        assert pick("cpu") == CPU
    with pytest.raises(AbsentDeviceError, match="device cuda: this machine has no CUDA device"):
        pick("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick("cuda:0,cuda:1") == Device("cuda", (0, 1))
    with pytest.raises(AbsentDeviceError, match=r"device cuda:2: not found; the last CUDA device .* is cuda:1"):
        pick("cuda:0,cuda:2")


def test_a_process_of_several_takes_the_gpu_of_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert local_device(GPU) == GPU
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert local_device(GPU) == Device("cuda", (1,))
    assert local_device(CPU) == CPU


def test_threads_are_pinned_to_cores_only_where_the_cpu_computes() -> None:
    assert not pinned(Device("cuda", (0,)))
    assert bool(pinned(CPU)) is hasattr(os, "sched_getaffinity")


def test_a_text_is_parsed_without_torch() -> None:
    program = (
        "import sys; from compress.base.device import Device; Device.parse('cuda:1'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], env=environment(), check=True)


def named(node: ast.expr) -> str:
    """The last name of an expression: `device` of `job.device` and of `device`; empty for others."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def parsers(file: Path) -> Iterator[str]:
    """Places of a file that take the text of a device apart, or pass a device on as text."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in PARSES:
            argument = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
            of_a_kind = isinstance(argument, str) and argument.startswith(("cuda", "cpu"))
            if of_a_kind or "device" in named(node.func.value):
                yield f"{file}:{node.lineno}: parses a device: {ast.unparse(node)}"
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            name = node.arg if isinstance(node, ast.arg) else named(node.target)
            if name.strip("_") in ("device", "devices") and ast.unparse(node.annotation) in TEXTS:
                yield f"{file}:{node.lineno}: takes the text of a device: {name}"


def test_no_other_module_parses_a_device() -> None:
    files = [f for folder in ("compress", "benchmarks") for f in (ROOT / folder).rglob("*.py") if f != PARSER]
    assert len(files) > 200
    assert not (found := [place for file in files for place in parsers(file)]), "\n".join(found)


@pytest.mark.parametrize(
    "line",
    [
        'gpu = text.startswith("cuda")',
        'number = text.removeprefix("cuda:")',
        'kind, _, number = job.device.partition(":")',
        'parts = device_name.split(",")',
        "def pinned(device: str) -> None: ...",
        "def free(devices: Sequence[str]) -> None: ...",
        "class Job:\n    device: str",
    ],
)
def test_a_planted_parser_is_found(tmp_path: Path, line: str) -> None:
    (tmp_path / "planted.py").write_text(f"import os\n{line}\n")
    assert [place.partition(":")[2][0] for place in parsers(tmp_path / "planted.py")] in (["2"], ["3"])
