"""What a model costs at the headline point, and pruning until it costs so much less."""

from pathlib import Path
from typing import Any

import pytest
import torch

from compress.base.config import InputError
from compress.data import locate
from compress.data.workload import Workload
from compress.harness.transform import open_bundle
from compress.methods import apply_step
from compress.spec.recipe import Recipe
from compress.spec.steps import Prune


@pytest.fixture(scope="module")
def open_model(workload: Path) -> Any:
    """A function that opens the made workload's model anew."""
    found = locate.resolve(Workload.load(str(workload)))
    return lambda: open_bundle(Recipe(), found, torch.device("cpu"), work=None)


def test_multiply_adds_are_those_of_the_products_at_the_headline_point(open_model: Any) -> None:
    bundle = open_model()
    config, point = bundle.model.config, bundle.workload.headline_point
    tokens, width = point.batch_size * point.sequence_length, config.hidden_size
    layer = 4 * width * width + 2 * width * config.intermediate_size + 2 * point.sequence_length * width
    head = point.batch_size * (width * width + width * config.num_labels)  # the pooler and the classifier
    assert bundle.cost(bundle.model, "macs") == tokens * layer * config.num_hidden_layers + head


@pytest.mark.parametrize("rounds", [1, 2])
def test_a_fraction_of_multiply_adds_goes(open_model: Any, rounds: int) -> None:
    bundle = open_model()
    dense = bundle.cost(bundle.model, "macs")
    config = Prune(fraction=0.2, cost="macs", importance="taylor", calibration_examples=16, rounds=rounds)
    done = apply_step(bundle, config)
    left = done.cost(done.model, "macs") / dense
    assert 0.8 - 0.07 * rounds < left <= 0.8  # at least so much, in widths that are multiples of 8 of 64


def test_heads_go_until_a_fraction_of_multiply_adds_is_gone_and_no_further(open_model: Any) -> None:
    bundle = open_model()
    dense, groups = bundle.cost(bundle.model, "macs"), bundle.model.config.num_attention_heads
    one_less = apply_step(open_model(), Prune(structure="heads", fraction=1 / groups))
    of_one = 1 - one_less.cost(one_less.model, "macs") / dense
    for count in range(1, groups):
        done = apply_step(open_model(), Prune(structure="heads", fraction=(count - 0.5) * of_one, cost="macs"))
        left = done.cost(done.model, "macs") / dense
        assert left == pytest.approx(1 - count * of_one)
    with pytest.raises(InputError, match="prune heads: cannot remove 99% of macs"):
        apply_step(open_model(), Prune(structure="heads", fraction=0.99, cost="macs"))


def test_latency_is_a_time(open_model: Any) -> None:
    bundle = open_model()
    assert 1e-5 < bundle.cost(bundle.model, "latency") < 10
