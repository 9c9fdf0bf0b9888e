"""The table of formats: what auto picks, what is refused, and that every row is told apart."""

import itertools
from typing import Any, get_args

import pytest

from compress.base.config import InputError
from compress.base.device import DeviceKind
from compress.spec.formats import BITS, PLAIN_RUNTIMES, ROWS, Backend, Format, Runtime, choose


@pytest.mark.parametrize(
    ("device", "runtime", "bits", "expected"),
    [
        ("cpu", "auto", 8, ("int8", "onnxruntime", "onnxruntime")),
        ("cpu", "eager", 8, ("int8", "torchao", "eager")),
        ("cpu", "compile", 8, ("int8", "torchao", "compile")),
        ("cuda", "auto", 8, ("int8", "torchao", "compile")),
        ("cuda", "eager", 8, ("int8", "torchao", "eager")),
        ("cpu", "auto", 4, ("nf4", "bitsandbytes", "eager")),
        ("cuda", "auto", 4, ("int4", "torchao", "compile")),
        ("cpu", "auto", 3, ("int3", "torch", "eager")),
    ],
)
def test_auto_picks_the_best_row_of_the_device(
    device: DeviceKind, runtime: str, bits: int, expected: tuple[str, str, str]
) -> None:
    row = choose(bits=bits, format="auto", backend="auto", runtime=runtime, device=device)
    assert (row.format, row.backend, row.runtime) == expected


def test_real_kernels_stand_before_dequantization_for_the_same_device_and_bits() -> None:
    for device, bits in itertools.product(get_args(DeviceKind), (8, 4, 3, 2)):
        kernels = [row.kernels for row in ROWS if row.device == device and BITS[row.format] == bits]
        assert kernels == sorted(kernels, key=("real", "dequantized").index)


def test_a_gpu_gets_what_it_has_kernels_for() -> None:
    ask = {"bits": 4, "format": "auto", "backend": "auto", "runtime": "auto", "device": "cuda"}
    assert choose(**ask, capability=(9, 0)).backend == choose(**ask).backend == "torchao"
    assert choose(**ask, capability=(7, 5)).format == "nf4"
    with pytest.raises(InputError, match=r"compute capability 8\.0; expected one of"):
        choose(**{**ask, "bits": 8, "format": "fp8"}, capability=(8, 0))


def test_choose_agrees_with_a_search_over_every_combination() -> None:
    options = itertools.product(
        (8, 4, 3, 2), ("auto", *get_args(Format)), ("auto", *get_args(Backend)), ("auto", *get_args(Runtime)),
        get_args(DeviceKind),
    )  # fmt: skip
    for bits, form, backend, runtime, device in options:
        fits = [
            row
            for row in ROWS
            if BITS[row.format] == bits
            and row.device == device
            and not row.with_cache
            and form in ("auto", row.format)
            and backend in ("auto", row.backend)
            and runtime in ("auto", row.runtime)
        ]
        if fits:
            assert choose(bits=bits, format=form, backend=backend, runtime=runtime, device=device) == fits[0]
        else:
            with pytest.raises(InputError, match="does not exist on"):
                choose(bits=bits, format=form, backend=backend, runtime=runtime, device=device)


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        ({"bits": 8}, ("int8_weight", "torch", "openvino")),
        ({"bits": 4}, ("int4", "torch", "openvino")),
        ({"bits": 4, "runtime": "eager"}, ("nf4", "bitsandbytes", "eager")),
        ({"bits": 8, "runtime": "onnxruntime"}, ("int8", "onnxruntime", "onnxruntime")),
        ({"bits": 8, "backend": "openvino"}, ("int8_weight", "openvino", "openvino")),
        ({"bits": 4, "device": "cuda"}, ("int4", "torchao", "compile")),
    ],
)
def test_a_language_models_first_choice_keeps_a_cache(ask: dict[str, Any], expected: tuple[str, str, str]) -> None:
    row = choose(**{"format": "auto", "backend": "auto", "runtime": "auto", "device": "cpu", **ask}, with_cache=True)
    assert (row.format, row.backend, row.runtime) == expected


def test_a_refusal_lists_what_exists() -> None:
    with pytest.raises(InputError, match="nf4 through bitsandbytes under eager") as refused:
        choose(bits=4, format="int4", backend="torchao", runtime="auto", device="cpu")
    assert "format int4, backend torchao" in str(refused.value)


def test_no_row_is_there_twice_and_every_format_has_bits() -> None:
    keys = [(row.format, row.device, row.backend, row.runtime) for row in ROWS]
    assert len(keys) == len(set(keys))
    assert set(BITS) == set(get_args(Format)) == {row.format for row in ROWS}


def test_every_runtime_of_a_row_also_runs_plain_models() -> None:
    for row in ROWS:
        assert row.runtime in PLAIN_RUNTIMES[row.device]
