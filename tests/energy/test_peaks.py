"""The limits of a device: what is measured, kept and printed, and which bandwidth a working set gets."""

from dataclasses import replace

import pytest
import torch

from compress.energy import peak_rates, peaks, remembered_peaks
from compress.energy.doctor import checkup
from compress.energy.peaks import MIB, Peaks, Read

CPU = torch.device("cpu")
CACHED = Peaks(
    threads=2,
    reads=(Read(MIB, 9e10), Read(4 * MIB, 1.2e11), Read(64 * MIB, 2.0e10), Read(256 * MIB, 1.9e10)),
    copy_bytes_per_s=1.8e10,
    products={"float32": 9e10, "int8": 4e11},
    remarks={"bfloat16": "torch has no product in it here"},
)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path_factory.mktemp("limits")))


@pytest.mark.parametrize(
    ("size", "rate", "in_cache"),
    [
        (1000, 1.2e11, True),  # smaller than every array: the fastest of all
        (2 * MIB, 1.2e11, True),  # an array of 4 MiB was read faster than one of 1 MiB
        (100 * MIB, 2.0e10, False),  # the noise of the memory is no cache
        (10_000 * MIB, 1.9e10, False),
    ],
)
def test_a_working_set_has_the_fastest_bandwidth_from_the_next_smaller_size_on(
    size: int, rate: float, in_cache: bool
) -> None:
    assert CACHED.bandwidth(size) == (rate, in_cache)


@pytest.mark.parametrize(
    ("cache", "room", "largest"),
    [(32 * MIB, None, 256), (64 * MIB, None, 1024), (None, None, 1024), (32 * MIB, 512 * MIB, 64), (None, MIB, 1)],
)
def test_arrays_reach_beyond_the_largest_cache_and_leave_memory_free(
    cache: int | None, room: int | None, largest: int
) -> None:
    assert peak_rates.working_sets(cache, room)[-1] == largest * MIB


def test_the_largest_cache_is_that_of_the_system(tmp_path) -> None:  # type: ignore[no-untyped-def]
    assert peak_rates.largest_cache_bytes(CPU, tmp_path) is None
    for index, size in enumerate(("32K", "1024K", "36M")):
        (tmp_path / f"index{index}").mkdir()
        (tmp_path / f"index{index}" / "size").write_text(f"{size}\n")
    assert peak_rates.largest_cache_bytes(CPU, tmp_path) == 36 * MIB


def test_every_figure_of_this_machine_is_measured_or_has_a_reason() -> None:
    found = peak_rates.measured(CPU, 8 * MIB)  # arrays of 1 MiB alone
    assert [read.working_set_bytes for read in found.reads] == [MIB]
    assert found.threads == torch.get_num_threads()
    assert found.memory_bytes_per_s > 1e8 and found.copy_bytes_per_s > 1e8
    assert found.products["float32"] > 1e8
    assert {"float32", "bfloat16", "int8"} == {*found.products, *found.remarks} and "float16" not in found.products


@pytest.mark.parametrize("error", [RuntimeError(""), RuntimeError("no memory\nmore"), AttributeError("mm")])
def test_a_product_that_fails_has_its_error_as_the_reason(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise error

    monkeypatch.setattr(torch, "_int_mm", failing)
    monkeypatch.setattr(torch, "mm", failing)
    found = peak_rates.measured(CPU, 8 * MIB)
    assert found.products["float32"] > 0  # the convolution is another routine
    assert "bfloat16" not in found.products
    assert found.remarks["bfloat16"].startswith(f"its product failed here: {type(error).__name__}")


def test_figures_are_measured_once_and_anew_when_asked(kept: None) -> None:
    calls = []

    def measure(device: torch.device) -> Peaks:
        calls.append(device)
        return replace(CACHED, copy_bytes_per_s=1e9 * len(calls))

    assert [remembered_peaks.remembered(CPU, measure=measure).copy_bytes_per_s for _ in range(2)] == [1e9, 1e9]
    assert remembered_peaks.remembered(CPU, anew=True, measure=measure).copy_bytes_per_s == 2e9
    assert remembered_peaks.remembered(CPU, measure=measure) == replace(CACHED, copy_bytes_per_s=2e9)
    remembered_peaks.place(CPU).write_text("{")
    assert remembered_peaks.remembered(CPU, measure=measure).copy_bytes_per_s == 3e9


def test_disturbed_figures_are_measured_again_up_to_three_times_and_the_highest_are_kept(kept: None) -> None:
    rates = iter((3e9, 2e9, 4e9, 9e9))

    def measure(device: torch.device) -> Peaks:
        return replace(CACHED, copy_bytes_per_s=next(rates), disturbed=True)

    found = [remembered_peaks.remembered(CPU, measure=measure) for _ in range(4)]
    assert [each.copy_bytes_per_s for each in found] == [3e9, 3e9, 4e9, 4e9]
    assert "may be too low" in "\n".join(peaks.lines(found[-1]))
    quiet = remembered_peaks.remembered(CPU, anew=True, measure=lambda _: CACHED)
    assert (quiet.copy_bytes_per_s, quiet.disturbed, quiet.tries) == (1.8e10, False, 1)


def test_doctor_prints_the_limits_with_their_units(kept: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered_peaks, "watched", lambda _: CACHED)
    printed = "\n".join(checkup.checkup("cpu", quick=True))
    for line in (
        "reading memory: 19.0 GB/s (arrays of 256 MiB; bytes read)",
        "copying memory: 18.0 GB/s (bytes read and bytes written)",
        "products in float32: 90.0 GFLOP/s",
        "products in int8: 400.0 GOP/s",
        "products in bfloat16: no figure (torch has no product in it here)",
    ):
        assert line in printed
    assert remembered_peaks.remembered(CPU) == CACHED  # sessions take what doctor measured
