"""Requests that end with their end token: the tokens, their number, and the figures per request and per token."""

from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML

from compress import run
from compress.analysis.verify import verify
from compress.data.point import OperatingPoint
from compress.data.tasks import causal_lm
from compress.data.workload import Workload
from compress.harness import engine
from compress.harness import run as harness
from compress.measure import session
from compress.measure.decode import Stopping, called
from compress.model.caching import caching
from compress.records import files
from compress.report.describe import describe
from compress.spec.recipe import Recipe
from tests.forked import one_thread
from tests.helpers import SHORT, sentences, tokenizer
from tests.made_models import llama

PROMPTS = torch.randint(4, 64, (3, 6), generator=torch.Generator().manual_seed(4))
POINT = OperatingPoint(batch_size=3, sequence_length=6, phase="generate", new_tokens=12, stop=True)


def continuation(model: Any, prompt: torch.Tensor, ends: set[int], most: int = 12) -> list[int]:
    """Greedy tokens after one prompt, computed anew for every token, with the end token."""
    ids = prompt[None]
    found: list[int] = []
    with torch.no_grad():
        while len(found) < most and not (found and found[-1] in ends):
            found.append(int(model(input_ids=ids).logits[0, -1].argmax()))
            ids = torch.cat([ids, torch.tensor([found[-1:]])], dim=1)
    return found


def test_a_request_ends_when_all_of_its_texts_have_ended() -> None:
    model = llama()
    free = [continuation(model, prompt, set()) for prompt in PROMPTS]
    ends = {free[0][4], free[1][2]}
    alone = [continuation(model, prompt, ends) for prompt in PROMPTS]
    assert len(set(map(len, alone))) > 1
    stopping = called(model, POINT, {"input_ids": PROMPTS}, tuple(ends))
    assert isinstance(stopping, Stopping)
    with torch.no_grad():
        made = stopping(PROMPTS)
    assert made.shape == (3, max(map(len, alone)))
    for row, expected in zip(made.tolist(), alone, strict=True):
        assert row[: len(expected)] == expected
    assert stopping.lengths([{"input_ids": PROMPTS}]) == tuple(map(len, alone))


def test_without_an_end_token_a_request_has_the_largest_number_of_tokens() -> None:
    stopping = Stopping(caching(llama()), 5, torch.tensor([63]))
    assert stopping.lengths([{"input_ids": PROMPTS[:2]}]) == (5, 5)


def test_only_a_further_point_of_phase_generate_stops() -> None:
    with pytest.raises(ValueError, match="stop with phase decode: expected phase generate"):
        OperatingPoint.model_validate({"phase": "decode", "batch_size": 1, "context": 8, "stop": True})
    fields = {"task": "causal-lm", "model": "m", "dataset": {"path": "d"}, "max_length": 32}
    with pytest.raises(ValueError, match="headline stop: models stop after different numbers of tokens"):
        Workload.model_validate({**fields, "name": "w", "headline": POINT.model_dump()})
    model = llama()
    workload = Workload.model_validate({**fields, "name": "w", "points": [POINT.model_dump()]})
    model.config.eos_token_id = None
    assert any("has no eos_token_id" in problem for problem in causal_lm.position_problems(model, workload))


def test_a_result_has_the_lengths_and_joules_per_request_and_per_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "run_child", lambda command, _device: session.main(command[3:]))
    monkeypatch.setattr(harness, "threads", one_thread)
    model = llama()
    first = continuation(model, torch.tensor([2, 10, 11, 12]), set(), most=3)
    model.generation_config.eos_token_id = first
    model.save_pretrained(tmp_path / "model")
    tokenizer().save_pretrained(tmp_path / "model")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "test.txt").write_text(" ".join(sentences(60, 2)["text"]))
    plain = {
        "task": "causal-lm", "model": "model", "max_length": 32,
        "dataset": {"path": "data", "train": None, "test": "test.txt", "text": "text"},
        "headline": {"phase": "decode", "batch_size": 1, "context": 8, "new_tokens": 4},
        "points": [{"phase": "generate", "batch_size": 2, "context": 8, "new_tokens": 10, "stop": True}],
    }  # fmt: skip
    with (tmp_path / "own.yaml").open("w") as stream:
        YAML().dump(plain, stream)
    recipe = Recipe(name="dense", measure={**SHORT, "points": "all"})  # type: ignore[arg-type]
    found = run(recipe, workload=str(tmp_path / "own.yaml"), device="cpu", out=tmp_path / "r", artifacts=tmp_path / "a")
    assert found.error is None
    point = found.points[-1]
    assert point.stop and (point.phase, point.new_tokens, point.generated_tokens) == ("generate", 10, 10)
    assert len(point.lengths) == 2 * 8 and set(point.lengths) <= set(range(1, 11))
    assert point.tokens_per_request == fmean(point.lengths)
    assert point.energy_j is not None and point.energy_per_token_j is not None
    assert point.energy_per_token_j.value == pytest.approx(point.energy_j.value / fmean(point.lengths))
    assert all(p.lengths == () and not p.stop for p in found.points[:-1])
    (file,) = (tmp_path / "r" / "own").glob("dense-*.json")
    assert verify(file).differences == ()
    assert files.read(file).points[-1] == point
    shown = "\n".join(describe(found))
    assert "generate up to 10, batch 2 x length 8" in shown and "requests end after" in shown
