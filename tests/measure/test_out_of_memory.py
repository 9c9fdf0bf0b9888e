"""Memory that runs out within a session: a reason, the other models go on, and half the batch only on request."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from compress.analysis import costs, figures
from compress.base.config import InputError
from compress.base.memory import ran_out
from compress.data.workload import Workload
from compress.measure import evaluate, models, rounds
from compress.measure.further import further_job
from compress.measure.session import run_session
from compress.records import trace
from compress.records.session import Session
from tests.measure.test_runners import REFERENCES, job

FP32, BF16 = (name for name, _ in REFERENCES)


@pytest.fixture(autouse=True)
def headline_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure one point."""
    monkeypatch.setattr(Workload, "natural_point", None)


def starve(monkeypatch: pytest.MonkeyPatch, largest: Mapping[str, int]) -> None:
    """Let models run out of memory in windows of more examples than these, by name."""
    real = rounds.called

    def called(model: Any, point: Any, batch: Any, ends: Any = ()) -> Any:
        name = FP32 if model.dtype == torch.float32 else BF16
        if point.batch_size > largest.get(name, 10**6):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
        return real(model, point, batch, ends)

    monkeypatch.setattr(rounds, "called", called)


def measured(workload: Path, **settings: Any) -> Session:
    planned = job(workload, "together")
    return run_session(replace(planned, settings=planned.settings.model_copy(update=settings)), {})


@pytest.mark.parametrize(
    "error, found",
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("Exception from src/inference: std::bad_alloc"), True),
        (InputError("llama.cpp has no memory (ggml: failed to allocate buffer of size 8388608000)"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("memory"), False),
    ],
    ids=lambda value: value if isinstance(value, bool) else type(value).__name__,
)
def test_errors_for_lack_of_memory_are_recognised(error: Exception, found: bool) -> None:
    assert ran_out(error) is found


def test_a_model_that_runs_out_of_memory_has_the_reason_and_frees_its_memory(
    workload: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starve(monkeypatch, {BF16: 1})
    freed: list[str] = []
    real = models.Shelf.put_away
    monkeypatch.setattr(models.Shelf, "put_away", lambda self, names: (freed.extend(names), real(self, names)))
    first, second = measured(workload).runners
    assert first.error is None and len(first.points[0].windows) == 3
    batch = Workload.load(str(workload)).headline_point.batch_size
    assert second.error is not None and second.points == ()
    assert second.error.startswith(f"OutOfMemory: at batch {batch} x ")
    assert "can't allocate memory" in second.error and "measure.halve_batch" in second.error
    assert freed == [BF16]


def test_the_batch_is_halved_for_all_models_if_the_settings_allow_it(
    workload: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    batch = Workload.load(str(workload)).headline_point.batch_size
    assert batch >= 4
    starve(monkeypatch, {BF16: batch // 4})
    session = measured(workload, halve_batch=True)
    for runner in session.runners:
        assert runner.error is None
        (point,) = runner.points
        assert point.point.batch_size == batch // 4 and len(point.windows) == 3
        assert point.smaller is not None and point.smaller.startswith(f"batch {batch // 4} instead of {batch}: ")
    trace.write(tmp_path / "s", session)
    assert trace.read(tmp_path / "s") == session
    raw = costs.Raw(session, (FP32, BF16), FP32, "accuracy", 0)
    (note,) = figures.smaller(raw, BF16)
    assert note.startswith(f"measured with batch {batch // 4} instead of {batch}") and BF16 in note
    planned = job(workload, "together")
    recipe = replace(planned.runners[1], reference=False)
    again = further_job(replace(planned, runners=(planned.runners[0], recipe)), session)
    assert again is not None and again.workload.headline_point.batch_size == batch // 4


def test_a_batch_of_one_that_does_not_fit_has_no_figures(workload: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starve(monkeypatch, {BF16: 0})
    first, second = measured(workload, halve_batch=True).runners
    assert first.points[0].point.batch_size == 1 and first.error is None
    assert second.error is not None and second.error.startswith("OutOfMemory: at batch 1 x ")


@pytest.mark.parametrize("allowed", [False, True], ids=["refused", "allowed"])
def test_an_evaluation_takes_smaller_batches_only_if_allowed(
    allowed: bool, workload: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = torch.isfinite

    def finite(tensor: torch.Tensor) -> torch.Tensor:
        if len(tensor) > 8:
            raise MemoryError("no room")
        return real(tensor)

    monkeypatch.setattr(torch, "isfinite", finite)
    runners = measured(workload, halve_batch=allowed).runners
    assert evaluate.BATCH == 32
    for runner in runners:
        assert (runner.error is None) is allowed
        assert runner.batch_size == (8 if allowed else 0)
    if not allowed:
        assert "evaluation in batches of 32" in str(runners[0].error)
