"""Runs that are killed, interrupted or started twice: nothing half is left, and the same command goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compress.base import owners
from compress.energy.spending import read as read_spent
from tests.helpers import QUICK, compress, environment, read_result

DISTILL = """
steps:
  - {method: distill, keep_every: 2, epochs: 400, batch_size: 8}
"""


def test_a_run_killed_in_training_goes_on_with_the_same_command_and_counts_what_was_spent(
    workload: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "student.yaml"
    recipe.write_text(DISTILL)
    command = [sys.executable, "-m", "compress", "run", str(recipe), "--workload", str(workload), *QUICK]
    command += ["--set", "steps.0.max_steps=600"]
    child = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
    work = tmp_path / "artifacts" / "my" / ".work"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(work.rglob("checkpoint-*/trainer_state.json")):
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    (spent,) = work.rglob("spent.json")
    before = read_spent(spent)
    assert before is not None
    assert not list((tmp_path / "results").rglob("*.json"))
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = read_result(tmp_path, "student-max_steps-600")
    assert result.transform is not None
    assert result.transform.interruptions == 1
    assert result.transform.seconds > before.seconds
    assert before.energy_j is not None
    assert result.transform.energy_j is not None
    assert result.transform.energy_j > before.energy_j
    assert not work.exists() or not list(work.iterdir())


def test_a_run_killed_inside_a_step_goes_on_with_the_same_command_and_counts_what_was_spent(
    workload: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "compress", "run", "bert_int8", "--workload", str(workload), *QUICK]
    child = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
    work = tmp_path / "artifacts" / "my" / ".work"

    def spent() -> float:
        found = [read_spent(path) for path in work.rglob("spent.json")]
        return max((each.seconds for each in found if each is not None), default=0.0)

    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and spent() < 1:  # the export takes several seconds
        time.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    before = spent()
    assert before >= 1
    assert not list((tmp_path / "artifacts" / "my").glob("bert_int8*"))
    done = compress(*command[3:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    transform = read_result(tmp_path, "bert_int8").transform
    assert transform.interruptions == 1
    assert transform.seconds > before


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_a_run_that_ends_while_measuring_leaves_no_half_result_and_goes_on(
    how: signal.Signals, workload: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "compress", "run", "bert_dense", "--workload", str(workload)]
    slow = [*command, "--set", "measure.window_s=0.5", "--set", "measure.rounds=8", "--set", "measure.warmup_s=0.5"]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background hands on that it is ignored
    child = subprocess.Popen(slow, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    for line in child.stderr:
        if "measuring" in line:
            break
    os.kill(child.pid, how)
    told = child.stderr.read()
    assert child.wait() == (130 if how == signal.SIGINT else -signal.SIGKILL)
    assert "Traceback" not in told
    assert not list((tmp_path / "results").rglob("*.json"))
    assert ("run the same command to continue" in told) == (how == signal.SIGINT)
    done = compress(*slow[3:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "artifact unchanged" in done.stderr
    assert read_result(tmp_path, "bert_dense").error is None


KILLED = """
import os, signal, sys
from compress import cli
from compress.harness import engine
engine.run_child = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
cli.main()
"""


def test_an_artifact_that_is_not_kept_goes_with_the_next_run_if_its_own_is_killed(
    workload: Path, tmp_path: Path
) -> None:
    command = ["run", "bert_dense", "--workload", str(workload), *QUICK]
    killed = [sys.executable, "-c", KILLED, *command, "--no-keep"]
    assert subprocess.run(killed, cwd=tmp_path, env=environment(), check=False).returncode == -signal.SIGKILL
    made = tmp_path / "artifacts" / "my"
    (left,) = [path.parent for path in made.glob("*/manifest.json")]
    assert owners.abandoned(left) and not (made / "bert_dense").exists()
    done = compress(*command, cwd=tmp_path)
    assert done.returncode == 0 and "artifact unchanged" not in done.stderr, done.stderr
    assert not left.exists() and (made / "bert_dense").is_dir()
    assert read_result(tmp_path, "bert_dense").artifact == str(Path("artifacts/my/bert_dense"))


def test_two_runs_of_the_same_recipe_at_once_both_end_well_and_measure_once(workload: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "compress", "run", "bert_dense", "--workload", str(workload), *QUICK]
    both = [
        subprocess.Popen(
            command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    told = [child.communicate()[1] for child in both]
    assert [child.returncode for child in both] == [0, 0], told
    assert sum("measuring batch" in text for text in told) == 1, told


def test_two_processes_train_together_and_the_first_one_measures(workload: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "student.yaml"
    recipe.write_text("steps:\n  - {method: distill, keep_every: 2, max_steps: 8, batch_size: 8}\n")
    command = ["compress", "run", str(recipe), "--workload", str(workload), "--device", "cpu", *QUICK]
    launched = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", *command]
    done = subprocess.run(launched, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Judged by") == 1
    result = read_result(tmp_path, "student")
    assert any("8 optimizer steps in 2 processes" in note for note in result.notes), result.notes
    assert result.transform is not None
    assert result.transform.energy_j is None
    assert "2 processes trained" in str(result.transform.energy_reason)
    alone = compress(*command[1:], cwd=tmp_path)
    # another batch, another student
    assert alone.returncode == 0 and "result is reused" not in alone.stderr, alone.stderr
