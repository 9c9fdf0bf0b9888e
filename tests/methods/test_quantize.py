"""Quantize: chosen layers only, numbers close to what they stand for, and a note that says what was picked."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from torch import nn
from torch.nn import functional

from compress.base import devices
from compress.base.config import InputError
from compress.base.devices import has_vnni
from compress.methods import apply_step
from compress.model.packing import ao, backend_of, bnb
from compress.spec.formats import FP8_IN_BF16
from compress.spec.steps import Cast, LowRank, Quantize
from tests import made_models
from tests.helpers import QUICK, compress, read_result
from tests.made_models import MODELS, bundle, logits, trainable

EAGER = [
    Quantize(bits=8, format="int8", backend="torchao"),
    Quantize(bits=8, format="llm_int8"),
    Quantize(bits=4, format="nf4", group_size=32),
    Quantize(bits=4, format="fp4", group_size=32),
]
NF4 = EAGER[2]
# error of one product, relative to its norm: 8 bits round to 1/127 of the largest, 4 bits to a tenth or so
PRODUCT_ERROR = {"int8": 0.02, "llm_int8": 0.02, "nf4": 0.15, "fp4": 0.2}


def quantized_bundle(name: str, step: Quantize, **changes: Any) -> Any:
    """The bundle of a made model after the step, under eager unless told otherwise."""
    changes.setdefault("runtime", "eager")
    return apply_step(replace(trainable(MODELS[name]()), **changes), step)


@pytest.mark.parametrize("step", EAGER, ids=lambda s: s.format)
@pytest.mark.parametrize("shape", [(64, 256), (32, 172), (6, 32)], ids=str)
def test_a_quantized_product_is_near_the_exact_one(step: Quantize, shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(shape[1], shape[0])
    inputs = torch.randn(3, 5, shape[1])
    with torch.no_grad():
        exact = linear(inputs)
        module = backend_of("torchao" if step.format == "int8" else "bitsandbytes").make(linear, step.model_dump())
        error = (module(inputs) - exact).norm() / exact.norm()
    assert 0 < error < PRODUCT_ERROR[step.format]


@pytest.mark.parametrize("name", ["bert", "vit", "llama", "gpt2"])
@pytest.mark.parametrize("step", EAGER, ids=lambda s: s.format)
def test_every_architecture_answers_nearly_the_same(name: str, step: Quantize) -> None:
    exact = logits(MODELS[name]())
    answer = logits(quantized_bundle(name, step).model)
    assert answer.shape == exact.shape
    assert torch.isfinite(answer).all()
    error = float((answer - exact).norm() / exact.norm())
    assert 0 < error < (0.1 if step.bits == 8 else 0.8)


@pytest.mark.parametrize("step", EAGER, ids=lambda s: s.format)
def test_only_chosen_layers_change_and_heads_stay(step: Quantize) -> None:
    dense = made_models.bert()
    chosen = step.model_copy(update={"include": ("*layer.0*",), "exclude": (*step.exclude, "*query*")})
    after = quantized_bundle("bert", chosen)
    names = {name for name in after.layers if name}
    assert names == {
        f"bert.encoder.layer.0.{part}"
        for part in ("attention.self.key", "attention.self.value", "attention.output.dense", "intermediate.dense",
                     "output.dense")
    }  # fmt: skip
    for name, module in dense.named_modules():
        if isinstance(module, nn.Linear) and name not in names:
            kept = after.model.get_submodule(name)
            assert type(kept) is nn.Linear
            assert torch.equal(kept.weight, module.weight)


def test_settings_and_runtime_are_recorded() -> None:
    after = quantized_bundle("bert", Quantize(bits=8, format="llm_int8", threshold=4.5), runtime="auto")
    assert after.runtime == after.layers[""]["runtime"] == "eager"
    entry = after.layers["bert.encoder.layer.0.output.dense"]
    assert entry == {"format": "llm_int8", "backend": "bitsandbytes", "bits": 8, "threshold": 4.5}
    assert "threshold 4.5" in after.notes[-2]


def test_the_note_says_what_auto_picked_and_why() -> None:
    note = quantized_bundle("bert", Quantize(bits=4, group_size=32), runtime="auto").notes[-1]
    assert note.startswith("quantize: auto picked nf4 through bitsandbytes under eager, group_size 32 (")
    assert "auto" not in quantized_bundle("bert", NF4.model_copy(update={"backend": "bitsandbytes"})).notes[-1]


def test_the_same_model_quantizes_to_the_same_numbers() -> None:
    first, second = (logits(quantized_bundle("bert", NF4).model) for _ in range(2))
    assert torch.equal(first, second)


def test_group_sizes_that_do_not_divide_leave_layers_alone_and_say_so() -> None:
    step = Quantize(bits=4, format="int4", backend="quanto", group_size=64)
    backend = backend_of("quanto")
    assert "does not divide" in str(backend.refuse(nn.Linear(96, 8), step.model_dump(), "cpu"))
    assert backend.refuse(nn.Linear(128, 8), step.model_dump(), "cpu") is None
    with pytest.raises(InputError, match="no layer supports it"):
        quantized_bundle("bert", step.model_copy(update={"include": ("*query*",)}))


def test_a_model_that_nothing_in_matches_is_refused() -> None:
    with pytest.raises(InputError, match="no linear layer matches"):
        quantized_bundle("bert", NF4.model_copy(update={"include": ("*nothing*",)}))


def test_two_class_heads_can_be_included_in_nf4() -> None:
    after = quantized_bundle("bert", NF4.model_copy(update={"include": ("*classifier*",), "exclude": ()}))
    error = (logits(after.model) - logits(made_models.bert())).abs().max()
    assert 0 < error < 0.2


def test_low_rank_halves_are_quantized_one_by_one() -> None:
    after = apply_step(apply_step(bundle(made_models.bert(), runtime="eager"), LowRank(rank=8)), EAGER[1])
    first = after.model.bert.encoder.layer[0].intermediate.dense.first
    assert type(first).__name__ == "Linear8bitLt"
    assert "bert.encoder.layer.0.intermediate.dense.first" in after.layers


def test_nf4_tensors_do_not_depend_on_whether_the_layer_was_used() -> None:
    torch.manual_seed(0)
    module: Any = bnb.make(nn.Linear(256, 64), {"format": "nf4", "group_size": 64, "double_quant": True})
    before, _ = bnb.pack(module)
    before = {name: tensor.clone() for name, tensor in before.items()}
    with torch.no_grad():
        module(torch.randn(4, 256))
    after, _ = bnb.pack(module)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_4_bit_layer_computes_in_the_numbers_it_is_given_at_any_batch_size() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(512, 256)
    module: Any = bnb.make(nn.Linear(256, 64), {"format": "nf4", "group_size": 64, "double_quant": False})
    expanded = dequantize_4bit(module.weight.data, module.weight.quant_state)
    with torch.no_grad():
        for count in (1, 32, 512):
            expected = functional.linear(inputs[:count], expanded, module.bias)
            torch.testing.assert_close(module(inputs[:count]), expected, rtol=1e-5, atol=1e-5)


def test_scales_in_8_bits_take_less_and_change_little() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(512, 256)
    once, twice = (
        bnb.make(linear, {"format": "nf4", "group_size": 64, "double_quant": double}) for double in (False, True)
    )
    weights, sizes = [], []
    for module in (once, twice):
        tensors, _ = bnb.pack(module)
        sizes.append(sum(tensor.nbytes for name, tensor in tensors.items() if name.startswith("scale")))
        weights.append(dequantize_4bit(module.weight.data, module.weight.quant_state))  # type: ignore[union-attr, arg-type]
    groups = 512 * 256 // 64
    assert sizes == [4 * groups, groups + 4 * (groups // 256 + 256 + 1)]  # a table of 256 numbers and the mean
    assert 0 < float((weights[1] - weights[0]).norm() / weights[0].norm()) < 0.01


def test_a_half_precision_model_is_refused_by_onnxruntime() -> None:
    with pytest.raises(InputError, match="bfloat16; expected float32"):
        apply_step(apply_step(bundle(made_models.bert()), Cast()), Quantize(bits=8))


@pytest.mark.parametrize("per_channel", [True, False])
def test_the_graph_multiplies_integers_in_chosen_layers_only(per_channel: bool) -> None:
    step = Quantize(bits=8, per_channel=per_channel, include=("*layers.1*",))
    after = quantized_bundle("vit", step, runtime="auto")
    graph = onnx.load(str(after.model.path)).graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("MatMulInteger") == len([name for name in after.layers if name]) == 6
    weights = [i for i in graph.initializer if i.name.endswith("_quantized")]
    scales = [i for i in graph.initializer if i.name.endswith("_scale")]
    assert {i.data_type for i in weights} == {onnx.TensorProto.INT8 if has_vnni() else onnx.TensorProto.UINT8}
    assert {len(onnx.numpy_helper.to_array(i).reshape(-1)) > 1 for i in scales} == {per_channel}
    exact = logits(made_models.vit())
    with torch.no_grad():
        answer = after.model(**made_models.inputs(made_models.vit())).logits
    assert 0 < float((answer - exact).norm() / exact.norm()) < 0.1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_int4_kernels_on_cuda_are_near_the_exact_product() -> None:
    linear = nn.Linear(256, 64, dtype=torch.bfloat16, device="cuda")
    inputs = torch.randn(4, 256, dtype=torch.bfloat16, device="cuda")
    with torch.no_grad():
        exact = linear(inputs)
        module = backend_of("torchao").make(linear, {"format": "int4", "group_size": 64})
        assert float((module(inputs) - exact).norm() / exact.norm()) < 0.2


@pytest.mark.long
def test_quanto_int4_is_near_the_exact_model() -> None:
    after = quantized_bundle("bert", Quantize(bits=4, format="int4", group_size=32))
    exact = logits(made_models.bert())
    assert 0 < float((logits(after.model) - exact).norm() / exact.norm()) < 0.8


def test_rows_that_are_added_for_a_gpu_change_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(64, 24)
    module = backend_of("torchao").make(linear, {"format": "int8"})
    assert isinstance(module, ao.Rows)
    inputs = [torch.randn(shape) for shape in ((1, 64), (3, 5, 64), (32, 64), (40, 64))]
    with torch.no_grad():
        plain = [module(each) for each in inputs]
        rows: list[int] = []
        real = functional.linear

        def watched(value: torch.Tensor, *rest: Any) -> torch.Tensor:
            rows.append(len(value))
            return real(value, *rest)

        monkeypatch.setattr(functional, "linear", watched)
        monkeypatch.setattr(ao.Rows, "pads", staticmethod(lambda _: True))
        for each, expected in zip(inputs, plain, strict=True):
            torch.testing.assert_close(module(each), expected)
    assert rows == [32, 32, 32, 40]


def test_what_products_on_a_gpu_cannot_take_is_refused_there_only() -> None:
    refuse, half = backend_of("torchao").refuse, torch.bfloat16
    assert "multiples of 8" in str(refuse(nn.Linear(64, 12), {"format": "int8"}, "cuda"))
    assert "multiples of 16" in str(refuse(nn.Linear(24, 64, dtype=half), {"format": "fp8"}, "cuda"))
    assert refuse(nn.Linear(64, 64), {"format": "fp8"}, "cuda") == FP8_IN_BF16
    assert refuse(nn.Linear(64, 64, dtype=half), {"format": "fp8"}, "cuda") is None
    for form in ("int8", "fp8"):
        assert refuse(nn.Linear(24, 12), {"format": form}, "cpu") is None


def test_int8_of_torchao_is_refused_in_fp16_where_sums_would_overflow() -> None:
    for device in ("cpu", "cuda"):
        reason = backend_of("torchao").refuse(nn.Linear(64, 64, dtype=torch.float16), {"format": "int8"}, device)
        assert "cast it to bf16" in str(reason)
    with pytest.raises(InputError, match=r"no layer supports it.*overflow in fp16"):
        model = bundle(MODELS["bert"](), runtime="compile")
        apply_step(apply_step(model, Cast(dtype="fp16")), Quantize(bits=8, format="int8", backend="torchao"))


def test_layers_of_torchao_made_on_one_kind_of_device_are_refused_by_the_other_where_they_differ() -> None:
    from compress.model.packing import ao

    fp8 = ao.make(nn.Linear(64, 64, dtype=torch.bfloat16), {"format": "fp8"}).weight.data
    narrow, wide = (ao.make(nn.Linear(64, rows), {"format": "int8"}).weight.data for rows in (12, 16))
    ao.check_device(fp8, 64, 64, "cpu")
    ao.check_device(wide, 16, 64, "cuda")
    for weight, rows, why in ((fp8, 64, "fp8 made on a CPU"), (narrow, 12, "multiples of 8")):
        with pytest.raises(InputError, match=f"{why}.*quantize again on cuda"):
            ao.check_device(weight, rows, 64, "cuda")
    tensors, meta = ao.pack(ao.make(nn.Linear(64, 64, dtype=torch.bfloat16), {"format": "fp8"}))
    assert isinstance(ao.unpack(tensors, meta, torch.device("cpu")), nn.Linear)


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_a_model_that_is_not_in_fp16_is_told_that_llm_int8_computes_in_it(dtype: str) -> None:
    cast = apply_step(bundle(MODELS["bert"](), runtime="eager"), Cast(dtype=dtype))
    told = [n for n in apply_step(cast, Quantize(bits=8, format="llm_int8")).notes if "casts its inputs" in n]
    assert len(told) == (dtype == "bf16")


def test_a_run_counts_the_layers_that_torchao_packs(workload: Path, tmp_path: Path) -> None:
    changes = ("--set", "steps.0.backend=torchao", "--set", "runtime=eager")
    done = compress("run", "bert_int8", "--workload", workload, *changes, *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = read_result(tmp_path, "bert_int8-backend-torchao-runtime-eager")
    assert result.error is None
    assert [step.changed_layers for step in result.transform.steps] == [12]


def test_without_vnni_int8_graphs_hold_the_same_integers_as_unsigned_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnx

    def integers(vnni: bool) -> dict[str, Any]:
        monkeypatch.setattr(devices, "has_vnni", lambda: vnni)
        made = apply_step(bundle(made_models.bert()), Quantize(bits=8)).model
        loaded = onnx.load(str(made.path)).graph
        arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in loaded.initializer}
        found = {}
        for node in loaded.node:
            if node.op_type == "MatMulInteger":
                weight, zero = arrays[node.input[1]], arrays[node.input[3]]
                assert weight.dtype == zero.dtype == ("int8" if vnni else "uint8")
                found[node.input[1]] = weight.astype("int32") - zero.astype("int32")
        return found

    signed, unsigned = integers(True), integers(False)
    assert signed and set(signed) == set(unsigned)
    assert all((signed[name] == unsigned[name]).all() for name in signed)
