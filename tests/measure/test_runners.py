"""Models that do not fit together are loaded in turn, and nothing of the one before stays in memory."""

import gc
import os
import sys
import time
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import pipeline

from compress import load
from compress.analysis import costs, figures
from compress.analysis.joules import idle_watts, window_energy
from compress.base.config import InputError
from compress.base.device import CPU
from compress.data import locate
from compress.data.workload import Workload
from compress.energy import nvml
from compress.energy.meters import Gpu
from compress.measure import models as runners
from compress.measure import session, warmup
from compress.measure.job import Job, Spec
from compress.measure.models import Shelf, in_turn_reason
from compress.measure.session import run_session
from compress.records.session import Memory
from compress.spec.measure import PROFILES
from tests.helpers import QUICK, compress, read_result
from tests.simulator import Board, Simulator

SHORT = PROFILES["quick"].model_copy(
    update={"rounds": 3, "precision": None, "window_s": 0.3, "preroll_s": 0.0, "warmup_s": 1.0, "least_movements": 0}
)
STEP_S = 0.1  # of the simulated counter: other work on this machine may hold its reader up for half of that
REFERENCES = (("fp32 eager", "fp32"), ("bf16 eager", "bf16"))


def job(workload: Path, residency: str, specs: tuple[Spec, ...] = ()) -> Job:
    """Two references on the made workload, in windows of milliseconds."""
    found = locate.resolve(Workload.load(str(workload)))
    short = {
        "rounds": 3,
        "precision": None,
        "window_s": 0.02,
        "preroll_s": 0.0,
        "warmup_s": 1.0,
        "residency": residency,
    }
    return Job(
        workload=found.workload,
        source=found,
        runners=specs or tuple(Spec(name, None, dtype, "eager", False, False, True) for name, dtype in REFERENCES),
        settings=PROFILES["quick"].model_copy(update=short),
        device=CPU,
        gpus=(),
        seed=0,
        limit=None,
        threads=1,
    )


def watch(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many other models were alive whenever one was loaded."""
    alive: list[weakref.ref[Any]] = []
    seen: list[int] = []
    real = runners.open_model

    def counted(spec: Spec, job: Job) -> runners.LoadedModel:
        gc.collect()
        seen.append(sum(ref() is not None for ref in alive))
        runner = real(spec, job)
        alive.append(weakref.ref(runner.model))
        return runner

    monkeypatch.setattr(runners, "open_model", counted)
    return seen


def test_in_turn_there_is_never_a_second_model_in_memory(workload: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watch(monkeypatch)
    measured = run_session(job(workload, "in_turn"), {})
    assert set(seen) == {0}
    assert len(seen) > len(REFERENCES)  # again and again
    assert "in every round" in str(measured.in_turn)
    for runner in measured.runners:
        assert [window.index for window in runner.points[0].windows] == [1, 2, 3]


def test_together_every_model_is_loaded_once(workload: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watch(monkeypatch)
    measured = run_session(job(workload, "together"), {})
    assert seen == [0, 1]
    assert measured.in_turn is None


def test_a_model_that_fails_in_a_round_is_left_out_and_the_others_go_on(
    workload: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Shelf.take
    taken: dict[str, int] = {}

    def fragile(self: Shelf, spec: Spec) -> runners.LoadedModel:
        taken[spec.name] = taken.get(spec.name, 0) + 1
        if spec.name == "bf16 eager" and taken[spec.name] > 4:
            raise MemoryError("no room")
        return real(self, spec)

    monkeypatch.setattr(Shelf, "take", fragile)
    first, second = run_session(job(workload, "together"), {}).runners
    assert len(first.points[0].windows) == 3
    assert second.error is not None and "MemoryError: no room" in second.error
    assert second.points == ()


def test_a_whole_session_on_a_simulated_board_gives_its_joules(workload: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board("GPU-a", watts=200.0, period_s=STEP_S, processes=lambda _: (os.getpid(),))
    simulator = Simulator([board], time.monotonic)
    monkeypatch.setitem(sys.modules, "pynvml", simulator)
    meter = nvml.find(Gpu("a"))
    assert isinstance(meter, nvml.NvmlCounter)
    meter.step_s, meter.harmed_by_reading = STEP_S, False  # as doctor would have found
    monkeypatch.setattr(session, "find_meter", lambda *_: meter)
    monkeypatch.setattr(session, "IDLE_S", 0.5)
    monkeypatch.setattr(warmup, "settle", lambda *_: None)  # a minute
    measured = run_session(replace(job(workload, "together"), settings=SHORT), {})
    assert measured.foreign_processes == 0
    assert idle_watts(measured.idle.loaded, measured.meter.step_s) == pytest.approx(200, rel=0.1)
    raw = costs.Raw(measured, ("fp32 eager", "bf16 eager"), "fp32 eager", "accuracy", 0)
    seen = 0
    for runner in measured.runners:  # on a busy machine the sampler comes late, and says so
        late = False
        for window in runner.points[0].windows:
            energy = window_energy(measured.samples, window.started_ns, window.ended_ns, STEP_S)
            true = 200 * window.duration_s
            late |= energy.joules is None
            seen += energy.joules is not None
            assert energy.joules is None or energy.joules == pytest.approx(true, rel=energy.edge_error + 0.005)
        point, _natural = figures.points(raw, runner.name)
        assert late == (point.energy_j is None)
        assert not late or "did not move near both edges" in str(point.energy_reason)
        assert late or point.grade in ("C", "D")  # short windows; or other tests keep the cores busy
    assert seen


@pytest.mark.parametrize(
    ("memory", "free", "told"),
    [
        ({"a": Memory(4, 5), "b": Memory(3, 3)}, 9, None),
        ({"a": Memory(4 * 10**9, 5 * 10**9), "b": Memory(3 * 10**9, 3 * 10**9)}, 8 * 10**9, "8.0 GB of the 8.0 GB"),
        ({"a": Memory(reason="unknown")}, 1, None),
        ({"a": Memory(4, 5)}, None, None),
    ],
)
def test_auto_decides_by_measured_memory(
    workload: Path, monkeypatch: pytest.MonkeyPatch, memory: Any, free: int | None, told: str | None
) -> None:
    monkeypatch.setattr(runners, "free_bytes", lambda device: free)
    reason = in_turn_reason(job(workload, "auto"), memory)
    assert (reason is None) if told is None else (told in str(reason))


def test_free_memory_of_this_machine_is_plausible() -> None:
    free = runners.free_bytes(CPU)
    if not Path("/proc/meminfo").is_file():
        assert free is None
    else:
        assert free is not None
        assert 2**20 < free < 2**50


def test_a_run_in_turn_says_so_and_judges_the_same_model(workload: Path, tmp_path: Path) -> None:
    done = compress(
        "run", "bert_dense", "--workload", workload, *QUICK, "--set", "measure.residency=in_turn", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    found = read_result(tmp_path, "bert_dense")
    assert found.accuracy.right == found.references[0].accuracy.right
    assert any("loaded again in every round" in note for note in found.notes)


def test_attention_in_plain_operators_is_what_is_measured(workload: Path, tmp_path: Path) -> None:
    done = compress("run", "bert_dense", "attention_eager", "--workload", workload, *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    fused, plain = (
        {operator.name for operator in read_result(tmp_path, name).kernel.evidence}
        for name in ("bert_dense", "attention_eager")
    )
    assert any("scaled_dot_product" in name for name in fused)
    assert not any("scaled_dot_product" in name for name in plain)
    dense, eager = (read_result(tmp_path, name).accuracy.right for name in ("bert_dense", "attention_eager"))
    assert dense == eager
    model, _ = load(tmp_path / "artifacts" / "my" / "attention_eager")
    assert model.config._attn_implementation == "eager"


def test_fixed_padding_is_computed_at_one_length_and_answers_alike(workload: Path, tmp_path: Path) -> None:
    done = compress("run", "bert_dense", "padding_fixed", "--workload", workload, *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    dense, fixed = (read_result(tmp_path, name) for name in ("bert_dense", "padding_fixed"))
    assert dense.accuracy.right == fixed.accuracy.right
    length = Workload.load(str(workload)).max_length
    assert any(f"every text is padded to {length} tokens" in note for note in fixed.notes)
    model, tokenizer = load(tmp_path / "artifacts" / "my" / "padding_fixed")
    plain, _ = load(tmp_path / "artifacts" / "my" / "bert_dense")
    seen: list[int] = []
    model.model.register_forward_pre_hook(
        lambda _, a, given: seen.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    texts = tokenizer(["a few words", "one"], padding=True, return_tensors="pt")
    torch.testing.assert_close(model(**texts).logits, plain(**texts).logits, atol=1e-5, rtol=1e-5)
    assert seen == [length]
    with pytest.raises(InputError, match=f"expected at most {length}; truncate"):
        model(input_ids=torch.ones(1, length + 1, dtype=torch.long))
    answer = pipeline("text-classification", model=model, tokenizer=tokenizer)("a few words")
    assert (
        answer[0]["label"]
        == pipeline("text-classification", model=plain, tokenizer=tokenizer)("a few words")[0]["label"]
    )


def test_fixed_padding_is_of_texts(tmp_path: Path) -> None:
    done = compress("run", "padding_fixed", "--workload", "digits-vit", cwd=tmp_path)
    assert done.returncode == 2
    assert "padding: digits-vit is of image-classification" in done.stderr
