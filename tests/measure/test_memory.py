"""Memory after loading: the same for one model in two forms, and at least the bytes of its weights."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from compress.data import locate
from compress.data.workload import Workload
from compress.measure.job import Spec, write_job
from compress.model import artifact
from compress.model.bundle import Bundle
from tests.helpers import bert, environment, tokenizer, write_workload
from tests.measure.test_runners import job

MEASURE = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from compress.measure.job import read_job
from compress.measure.memory import measure_memory
print(json.dumps({name: asdict(memory) for name, memory in measure_memory(read_job(Path(sys.argv[1]))).items()}))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is read from /proc")
def test_a_dense_artifact_takes_the_memory_of_its_reference_and_at_least_that_of_its_weights(tmp_path: Path) -> None:
    model = bert()
    model.resize_token_embeddings(1_000_000)  # 128 MB, more than all else that loading takes
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    workload = write_workload(tmp_path / "w", model=model)
    source = locate.resolve(Workload.load(str(workload)))
    artifact.save(Bundle(model, tokenizer(), "text-classification", torch.device("cpu")), tmp_path / "artifact")
    specs = (
        Spec("fp32 eager", None, "fp32", "eager", False, False, True),
        Spec("dense", str(tmp_path / "artifact"), "fp32", "eager", False, False, False),
    )
    write_job(tmp_path / "job.json", replace(job(workload, "auto", specs), source=source))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, tmp_path / "job.json"], env=environment(), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    loaded = {name: memory["memory_bytes"] for name, memory in json.loads(done.stdout.splitlines()[-1]).items()}
    assert min(loaded.values()) >= weights
    assert loaded["dense"] == pytest.approx(loaded["fp32 eager"], abs=0.3 * weights)
