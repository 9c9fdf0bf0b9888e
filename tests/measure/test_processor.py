"""The speed of the processor: a fixed load on all threads, in operations per second."""

import pytest
import torch

from compress.measure import processor


@pytest.mark.parametrize(("threads", "width"), [(1, 96), (2, 128), (16, 256), (64, 400)])
def test_the_speed_is_operations_of_the_fastest_try(threads: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 4.0, 4.0, 6.0, 6.0, 9.0, 9.0, 13.0, 13.0, 17.0])  # tries of 4, 2, 3, 4 and 4 seconds
    monkeypatch.setattr(processor.time, "perf_counter", lambda: next(times))
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert processor.operations_per_s() == round(24 * 2 * width**3 / 2.0)


def test_the_speed_is_plausible_and_repeatable() -> None:
    found = [processor.operations_per_s() for _ in range(30)]
    assert min(found) > 1e8 and max(found) < 1e15
    assert sorted(found)[15] > 0.3 * max(found)
