"""Many rounds that are left out are noted: for the latency, and for a ratio in which shared noise cancels."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from compress.analysis import ratios

ROUNDS = 30


def noted(monkeypatch: pytest.MonkeyPatch, logs: dict[str, np.ndarray]) -> bool:
    """Whether the row `ours` has the note, given the log latencies of all runners."""
    found = {name: SimpleNamespace(latency_s=np.exp(values).tolist()) for name, values in logs.items()}
    monkeypatch.setattr(ratios, "costs", lambda _, name, __: found.get(name))
    raw: Any = SimpleNamespace(references=("fp32 eager", "bf16 eager"))
    return bool(ratios.outlying(raw, "ours", 0))


def test_a_second_mode_is_noted_though_shared_noise_hides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    shared = 0.1 * generator.standard_normal(ROUNDS)
    own, reference = (0.005 * generator.standard_normal(ROUNDS) for _ in range(2))
    modes = np.where(np.arange(ROUNDS) % 3 == 0, 0.15, 0.0)
    assert not noted(monkeypatch, {"ours": own + shared, "fp32 eager": reference + shared})
    assert noted(monkeypatch, {"ours": own + shared + modes, "fp32 eager": reference + shared})
    assert not noted(monkeypatch, {"ours": own + shared + modes})  # hidden without a reference


def test_a_second_mode_of_the_latency_itself_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    own = 0.005 * np.random.default_rng(1).standard_normal(ROUNDS)
    modes = np.where(np.arange(ROUNDS) % 3 == 0, 0.15, 0.0)
    assert noted(monkeypatch, {"ours": own + modes})
    assert not noted(monkeypatch, {"ours": own})
