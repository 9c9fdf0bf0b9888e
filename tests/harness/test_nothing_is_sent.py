"""No run opens a connection or leaves a file that is not its own, whatever its libraries would do by themselves."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from compress.base import telemetry
from tests.helpers import QUICK, bert, environment, write_workload

OURS = ("CI", "TF_BUILD", "GITHUB_ACTIONS", "GITLAB_CI", "CIRCLECI", "JENKINS_URL", "ORT_RUNNING_UNIT_TESTS",
        "PYTEST_CURRENT_TEST", "PYTEST_XDIST_WORKER", "NNCF_CI", "NNCF_DEV")  # fmt: skip
"""Variables under which libraries take a process for a test, and are silent by themselves."""
CALL = re.compile(r"\b(connect|sendto|sendmsg|sendmmsg|openat|creat|mkdir|mkdirat)\((.*)")


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """What a run of int8 under onnxruntime and under openvino asked of the kernel, and the folder it ran in."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not here; `make test` installs it where it can")
    here = tmp_path_factory.mktemp("sent")
    (here / "home").mkdir()
    (here / "tmp").mkdir()
    told = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False)
    if told.returncode != 0:
        pytest.skip("strace may not trace processes here")
    workload = write_workload(here / "workload", bert(layers=1))
    (here / "static.yaml").write_text("steps:\n- {method: quantize, bits: 8, format: int8_static}\n")
    given = {k: v for k, v in environment().items() if k not in (*OURS, *telemetry.OFF) and not k.startswith("XDG_")}
    given.pop("COMPRESS_CACHE", None)  # below its home
    given |= {"HOME": str(here / "home"), "TMPDIR": str(here / "tmp"), "COMPRESS_LOCKS": str(here / "tmp")}
    done = subprocess.run(
        ["strace", "-f", "-qq", "--seccomp-bpf", "-s", "256", "-e", "trace=network,openat,creat,mkdir,mkdirat",
         "-o", here / "calls", sys.executable, "-m", "compress", "run", "bert_int8", "static.yaml", "--device", "cpu",
         "--workload", workload, "--limit", "8", *QUICK],
        cwd=here, env=given, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return here, (here / "calls").read_text(errors="replace")


def test_no_connection_is_tried(trace: tuple[Path, str]) -> None:
    _, calls = trace
    tried = [line for line in calls.splitlines() if "AF_INET" in line and CALL.search(line)]
    assert not tried, "\n".join(tried[:5])
    assert "/etc/resolv.conf" not in calls


def test_no_file_is_made_elsewhere(trace: tuple[Path, str]) -> None:
    here, calls = trace
    made = [m.group(2) for line in calls.splitlines() if (m := CALL.search(line)) and _makes(line)]
    paths = {Path(found.group(1)) for call in made if (found := re.search(r'"([^"]*)"', call))}
    elsewhere = [p for p in paths if p.is_absolute() and not p.is_relative_to(here)]
    strange = [p for p in elsewhere if not str(p).startswith(("/dev/", "/proc/", "/sys/"))]
    assert not [p for p in strange if p.exists() and not _standing(p)], sorted(map(str, strange))
    assert made and not any("deviceid" in str(p) or "onnxruntime.db" in str(p) for p in paths)
    left = {p.relative_to(here / "home").parts[:2] for p in (here / "home").rglob("*") if p.is_file()}
    assert not [parts for parts in left if "Microsoft" in parts or "intel" in parts], left


def _makes(line: str) -> bool:
    return " = -1 " not in line and ("O_CREAT" in line or "creat(" in line or "mkdir" in line)


def _standing(path: Path) -> bool:
    """Whether Python may have written it anyway: its own byte code."""
    return "__pycache__" in path.parts


PROGRAM = """
import os, sys
import compress
from compress.base import telemetry
assert all(name in os.environ for name in telemetry.OFF), "not set"
try:
    import openvino_telemetry
except ImportError:
    print("off")
"""


def test_importing_the_package_is_enough() -> None:
    clean = {k: v for k, v in environment().items() if k not in telemetry.OFF}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=clean, capture_output=True, text=True, check=False)
    assert done.stdout == "off\n", done.stderr


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "false")
    telemetry.switch_off()
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "false"
