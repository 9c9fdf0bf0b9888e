"""On a machine with a GPU: every row of the format table, artifacts, meter and a whole run (`make gpu-test`)."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from compress import Recipe, apply, results
from compress.energy import Absent, find_meter
from compress.formats import ROWS, Row
from compress.measure import machine
from tests.helpers import tokenizer
from tests.test_run import QUICK, compress, environment

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

ON_CUDA = [row for row in ROWS if row.device == "cuda"]


def wide_bert() -> object:
    """A BERT whose widths every kernel accepts."""
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=64, hidden_size=256, num_hidden_layers=2, num_attention_heads=4, intermediate_size=512,
        max_position_embeddings=64, num_labels=2,
    )  # fmt: skip
    return BertForSequenceClassification(config).eval()


@pytest.mark.parametrize("row", ON_CUDA, ids=[f"{r.format}-{r.backend}-{r.runtime}" for r in ON_CUDA])
def test_every_format_on_cuda_answers_nearly_like_the_dense_model(row: Row) -> None:
    bits = 8 if row.format in ("int8", "llm_int8") else 4
    step = {"method": "quantize", "bits": bits, "format": row.format, "backend": row.backend}
    recipe = Recipe.model_validate({"steps": [step], "runtime": row.runtime})
    model = wide_bert().cuda()  # type: ignore[attr-defined]
    batch = {k: v.cuda() for k, v in tokenizer()(["the film was great"] * 16, return_tensors="pt").items()}
    with torch.no_grad():
        dense = model(**batch).logits.float()
        ours = apply(recipe, model, tokenizer())(**batch).logits.float()
    assert torch.isfinite(ours).all()
    assert (ours - dense).norm() <= 0.3 * dense.norm() + 0.05


def test_the_meter_is_the_boards_own_counter_and_it_moves_under_load() -> None:
    found = machine.describe("cuda:0")
    meter = find_meter("cuda", found.uuid, found.device_name)
    assert not isinstance(meter, Absent), meter
    start = meter.read_uj()
    a = torch.randn(4096, 4096, device="cuda")
    for _ in range(400):
        a = (a @ a).clamp(-1, 1)
    torch.cuda.synchronize()
    assert meter.read_uj() > start


def test_a_whole_run_on_cuda_measures_energy(workload: Path, tmp_path: Path) -> None:
    names = ("bert_dense", "bert_bf16", "bert_int8", "bert_int4", "bert_lowrank")
    done = compress("run", *names, "--workload", workload, *QUICK, "--device", "cuda", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for path in (tmp_path / "results").rglob("*.json"):
        point = results.read(path).headline
        assert point is not None
        assert point.energy_source in ("nvml", None)
        assert point.energy_j is not None or point.energy_reason


def test_an_artifact_made_on_cuda_answers_the_same_in_a_fresh_process(workload: Path, tmp_path: Path) -> None:
    done = compress("run", "bert_int4", "--workload", workload, *QUICK, "--device", "cuda", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    program = (
        "import sys, torch; from compress import load\n"
        "model, tokens = load(sys.argv[1], device='cuda')\n"
        "batch = {k: v.cuda() for k, v in tokens(['the film was great'], return_tensors='pt').items()}\n"
        "print(model(**batch).logits.float().tolist())"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "artifacts" / "my" / "bert_int4")]
    answers = [
        subprocess.run(command, capture_output=True, text=True, check=True, env=environment()).stdout for _ in "ab"
    ]
    assert answers[0] == answers[1]
