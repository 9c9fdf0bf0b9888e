"""A language model's kernels are profiled as its headline measures it: a token after a cache, or a request."""

from typing import Any

import pytest
import torch

from compress.data.point import OperatingPoint
from compress.measure import kernels
from compress.model.runtimes.openvino import saved
from compress.model.runtimes.stateful import StatefulModel
from compress.model.runtimes.stateful_export import exported
from tests.made_models import llama

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


def test_a_tokens_products_are_of_one_row_and_a_prompts_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph's own counters come from the last call of the phase, and the session's request is as before."""
    model = saved(exported(llama()), llama().config, StatefulModel)
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
    expected = model.step(first)
    model.rewind()
    assert torch.equal(model.step(first), expected)  # the profile used a request of its own


def test_the_counters_of_tokens_hold_nothing_of_the_prompt_before_them() -> None:
    """OpenVINO's counters are means of all calls: a prompt of 128 tokens before would multiply those of a token."""
    model = saved(exported(llama(layers=4)), llama(layers=4).config, StatefulModel)
    prompt = torch.randint(4, 28, (64, 60), generator=torch.Generator().manual_seed(4))
    prompts = sum(model.operator_seconds({"input_ids": prompt, "attention_mask": torch.ones_like(prompt)}).values())
    token = sum(model.token_seconds(prompt, 1, with_prompt=False).values())
    request = sum(model.token_seconds(prompt, 1, with_prompt=True).values())
    print(token, prompts, request)
    assert token < prompts / 4
    assert 0.4 < request / (prompts + token) < 2.5


def test_seconds_of_a_request_are_those_of_prompt_and_tokens() -> None:
    model = saved(exported(llama()), llama().config, StatefulModel)
    token = model.token_seconds(PROMPT, 1, with_prompt=False)
    request = model.token_seconds(PROMPT, 3, with_prompt=True)
    assert token and any(name.startswith(("FullyConnected", "MatMul")) for name in token)
    assert all(seconds > 0 for seconds in (*token.values(), *request.values()))
    assert len(set(token) & set(request)) > len(token) / 2  # counters of a tiny operator can be 0 in one of them
