"""A language model's kernels are profiled as its headline measures it: a token after a cache, or a request."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from compress.data.point import OperatingPoint
from compress.measure import kernels
from compress.methods import apply_step
from compress.model.runtimes import check
from compress.model.runtimes.openvino import Counters, saved
from compress.model.runtimes.stateful import StatefulModel
from compress.model.runtimes.stateful_export import exported
from compress.spec.steps import Quantize
from tests.made_models import llama, trainable

CPU = torch.device("cpu")
PROMPT = torch.randint(4, 28, (2, 8), generator=torch.Generator().manual_seed(3))
BATCH = {"input_ids": PROMPT, "attention_mask": torch.ones_like(PROMPT)}
DECODE = OperatingPoint(batch_size=2, sequence_length=8, phase="decode", new_tokens=4)
REQUEST = OperatingPoint(batch_size=2, sequence_length=8, phase="generate", new_tokens=4)
FORWARD = OperatingPoint(batch_size=2, sequence_length=8)


def watched() -> tuple[Any, list[int]]:
    """A model, and the number of tokens of each of its calls so far."""
    model, lengths = llama(), []
    model.register_forward_pre_hook(lambda _m, _a, given: lengths.append(given["input_ids"].shape[1]), with_kwargs=True)
    return model, lengths


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        (DECODE, [8, 1, 1, 1]),  # the cache is filled; two warm tokens and the profiled one
        (REQUEST, [8, 1, 1, 1] * 3),
        (FORWARD, [8, 8, 8]),
        (None, [8, 8, 8]),
    ],
    ids=["decode", "generate", "forward", "no point"],
)
def test_the_profiled_call_is_that_of_the_headline(point: OperatingPoint | None, expected: list[int]) -> None:
    model, lengths = watched()
    found = kernels.label(model, BATCH, CPU, low_bit=False, point=point)
    assert found.label == "real" and found.evidence
    assert lengths == expected


def in_integers() -> StatefulModel:
    """A graph with integer weights, whose label compares logits with and without rounded inputs."""
    quantized = apply_step(trainable(llama()), Quantize(bits=8, backend="torch", symmetric=True, group_size=32))
    return check.checked_with_cache(quantized)


@pytest.mark.parametrize("make", [lambda: saved(exported(llama()), llama().config, StatefulModel), in_integers])
def test_a_tokens_products_are_of_one_row_and_a_prompts_of_all(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph's own counters come from the last call of the phase, and the session's request is as before."""
    model, other = make(), make()
    shapes: list[int] = []
    run = model.append

    def append(ids: torch.Tensor) -> torch.Tensor:
        shapes.append(ids.shape[1])
        return run(ids)

    monkeypatch.setattr(model, "append", append)
    model.reserve(PROMPT.shape[1] + 1, rewinds=True)
    first = model.prefill(PROMPT)
    before = model.cache_bytes
    shapes.clear()
    assert kernels.label(model, BATCH, CPU, low_bit=False, point=DECODE).evidence
    assert shapes == [8, 1, 1, 1, 1] * 2
    shapes.clear()
    assert kernels.label(model, BATCH, CPU, low_bit=False, point=REQUEST).evidence
    assert shapes == [8, 1, 1, 1] * 2
    assert model.cache_bytes == before
    expected = other.step(other.prefill(PROMPT))
    assert torch.equal(model.step(first), expected)  # the profile used requests of its own
    model.rewind()
    assert torch.equal(model.step(first), expected)


class Profiled:
    """A request whose counters are those of OpenVINO: the mean of all calls so far, in whole microseconds."""

    def __init__(self) -> None:
        self.calls: list[dict[str, int]] = []

    @property
    def profiling_info(self) -> list[Any]:
        means = {name: sum(call[name] for call in self.calls) // len(self.calls) for name in self.calls[0]}
        return [
            SimpleNamespace(node_name=name, node_type="Add", exec_type=name[:3], real_time=timedelta(microseconds=mean))
            for name, mean in means.items()
        ]


def test_the_counters_of_tokens_hold_nothing_of_the_prompt_before_them() -> None:
    counters = Counters(request := Profiled())
    prompt, token = {"f32.1": 5000, "f32.2": 3000, "i32": 40}, {"f32.1": 60, "f32.2": 20, "i32": 0}
    for _ in range(2):
        request.calls.append(prompt)
        counters.count(1)
        counters.start()
        request.calls += [token] * 4
        counters.count(4)
    found = counters.seconds()  # ten calls: each node is off by up to ten microseconds
    assert set(found) <= {"Add:f32", "Add:i32"}
    assert found["Add:f32"] == pytest.approx(4 * (60 + 20) * 1e-6, abs=20e-6)
    assert found.get("Add:i32", 0.0) == pytest.approx(0, abs=10e-6)


def test_the_counters_of_a_first_call_are_its_own() -> None:
    counters = Counters(request := Profiled())
    counters.start()
    request.calls.append({"f32": 1234})
    counters.count(1)
    assert counters.seconds() == {"Add:f32": pytest.approx(1234e-6)}


def test_seconds_of_a_request_are_those_of_prompt_and_tokens() -> None:
    model = saved(exported(llama()), llama().config, StatefulModel)
    prompt = torch.randint(4, 28, (64, 60), generator=torch.Generator().manual_seed(4))  # microseconds are whole
    token = model.token_seconds(prompt, 4, with_prompt=False)
    request = model.token_seconds(prompt, 4, with_prompt=True)
    assert token and any(name.startswith(("FullyConnected", "MatMul")) for name in token)
    assert all(seconds > 0 for seconds in (*token.values(), *request.values()))
    assert len(set(token) & set(request)) > len(token) / 2  # counters of a tiny operator can be 0 in one of them
