"""The speed of the processor: a fixed load on all threads, in operations per second."""

from collections.abc import Iterator

import pytest
import torch

from compress.measure import processor


def pretend(monkeypatch: pytest.MonkeyPatch, times: Iterator[float]) -> None:
    """Let the clock return these times."""
    monkeypatch.setattr(processor.time, "perf_counter", lambda: next(times))


@pytest.mark.parametrize(("threads", "small", "large"), [(1, 48, 96), (2, 64, 128), (16, 128, 256), (64, 208, 400)])
def test_the_speed_is_operations_of_the_fastest_try(
    threads: int, small: int, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = [4e-4, 2e-4, 3e-4, 4e-4, 4e-4]  # seconds of a pass in each of five tries

    def times() -> Iterator[float]:
        now = 0.0
        yield now
        for length in lengths:
            yield now
            for _ in range(5):
                now += length
                yield now

    pretend(monkeypatch, times())
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    operations = 2 * 2 * (4 * small**3 + large**3)
    assert processor.operations_per_s() == pytest.approx(operations / 2e-4, rel=1e-9)


def test_beside_load_the_first_passes_count(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, iter([0.0, 0.0, 0.006, 0.012]))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert processor.operations_per_s() == round(2 * 2 * 2 * (4 * 64**3 + 128**3) / 0.012)


def test_the_speed_is_plausible_and_repeatable() -> None:
    found = [processor.operations_per_s() for _ in range(30)]
    assert min(found) > 1e7 and max(found) < 1e15
    assert sorted(found)[25] > 0.1 * max(found)
