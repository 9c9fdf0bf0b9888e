"""Runtimes: graphs answer like the model at every batch size and length; the runtime of a bundle is settled by name."""

import contextlib
import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from compress.base import devices
from compress.base.config import InputError
from compress.base.devices import computes_bf16
from compress.measure import kernels
from compress.methods import apply_step
from compress.model import runtimes
from compress.model.runtimes import compiled, sparse
from compress.model.runtimes.graph import OnnxModel
from compress.model.runtimes.onnx import export
from compress.model.runtimes.openvino import OpenVinoModel
from compress.spec.steps import Cast, Prune, Quantize
from tests import made_models
from tests.helpers import ROOT
from tests.made_models import MODELS, bundle, trainable

openvino = pytest.importorskip("openvino")

TASKS = {"bert": "text-classification", "vit": "image-classification", "llama": "causal-lm"}


def batch(name: str, size: int, length: int) -> dict[str, torch.Tensor]:
    """A batch of any shape, its first text padded."""
    generator = torch.Generator().manual_seed(size * 100 + length)
    if name == "vit":
        return {"pixel_values": torch.rand(size, 1, 8, 8, generator=generator)}
    ids = torch.randint(4, 64, (size, length), generator=generator)
    mask = torch.ones_like(ids)
    mask[0, max(1, length // 2) :] = 0
    return {"input_ids": ids, "attention_mask": mask}


@pytest.fixture(scope="module")
def graphs() -> dict[str, Any]:
    """Name -> the made model as a graph of onnxruntime."""
    return {name: runtimes.finish(trainable(MODELS[name]()), "onnxruntime").model for name in TASKS}


def event(name: str, device: str, spent: float, annotation: bool = False) -> Any:
    """One line of torch's profile of a GPU."""
    kind = SimpleNamespace(name=device)
    return SimpleNamespace(key=name, device_type=kind, self_device_time_total=spent, is_user_annotation=annotation)


def test_shares_on_a_gpu_are_of_its_kernels_time() -> None:
    events = [event("aten::addmm", "CPU", 30), event("nvjet", "CUDA", 20), event("gemv", "CUDA", 10),
              event("triton_softmax", "CPU", 10), event("triton_softmax", "CUDA", 10), event("aten::view", "CPU", 0),
              event("## Call CompiledFxGraph abc ##", "CPU", 40), event("mine", "CUDA", 40, annotation=True),
              event("## Call CompiledFxGraph abc ##", "CUDA", 40)]  # fmt: skip
    found = kernels.kernel_shares(events)
    assert found == {"aten::addmm": 0.75, "nvjet": 0.5, "gemv": 0.25, "triton_softmax": 0.25}
    assert kernels.kernel_shares([]) == {}


def test_a_profile_without_any_operator_earns_no_label(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = SimpleNamespace(key_averages=list)
    monkeypatch.setattr(torch.profiler, "profile", lambda **_: contextlib.nullcontext(empty))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    for low_bit in (False, True):
        kernel = kernels.label(nn.Linear(4, 4), {"input": torch.ones(1, 4)}, torch.device("cuda:0"), low_bit)
        assert (kernel.label, kernel.evidence) == ("unknown", ())
        assert "CUPTI" in kernel.cause


@pytest.mark.parametrize(
    ("name", "low"),
    [
        ("void cutlass::Kernel2<cutlass_80_tensorop_i16832gemm_s8_128x64_128x3_tn_align16>(...)", True),
        ("nvjet_sm90_qqtst_128x160_128x5_1x2_h_bz_ovscale_TNT", True),
        ("nvjet_sm90_tst_96x64_64x10_1x2_h_bz_bias_TNN", False),
        ("nvjet_sm90_hsh_96x64_64x10_1x2_h_bz_bias_TNN", False),
        ("triton_red_fused__to_copy_add_amax_amin_clamp_0", False),
    ],
)
def test_kernels_of_a_graph_are_known_by_their_own_names(name: str, low: bool) -> None:
    assert bool(kernels.LOW_BIT_PRODUCTS.search(name)) is low


@pytest.mark.parametrize("name", TASKS)
def test_openvino_answers_like_the_model_at_every_shape(name: str) -> None:
    done = runtimes.finish(trainable(MODELS[name]()), "openvino")
    graph = done.model
    assert isinstance(graph, OpenVinoModel)
    assert done.notes.count(runtimes.IN_BF16) == int(computes_bf16(torch.device("cpu")))
    for size, length in ((1, 7), (5, 40), (1, 1), (16, 2)):
        inputs = batch(name, size, length)
        with torch.no_grad():
            expected, answer = MODELS[name]()(**inputs).logits, graph(**inputs).logits
        if "attention_mask" in inputs and name == "llama":
            kept = inputs["attention_mask"].bool()
            expected, answer = expected[kept], answer[kept]
        # products in bf16 where the CPU computes it: 8 bits of mantissa
        assert float((answer - expected).norm() / expected.norm()) < 0.03, (size, length)


def test_calibrated_int8_answers_nearly_like_the_model_and_multiplies_integers() -> None:
    model = MODELS["bert"]()
    inputs = batch("bert", 4, 16)
    with torch.no_grad():
        dense = model(**inputs).logits
    one = apply_step(trainable(model), Quantize(format="int8_static", calibration_examples=16))
    assert (one.runtime, one.model.kind) == ("openvino", "openvino")
    answer = one.model(**inputs).logits
    assert torch.isfinite(answer).all()
    assert not torch.equal(answer, dense)
    assert float((answer - dense).norm() / dense.norm()) < 0.3
    labelled = kernels.label(one.model, inputs, torch.device("cpu"), low_bit=True)
    assert labelled.label == "real", labelled


def test_calibrated_int8_records_the_number_of_examples_that_there_were() -> None:
    one = apply_step(trainable(MODELS["vit"]()), Quantize(format="int8_static", calibration_examples=256))
    assert ", calibration_examples 24 (" in one.notes[0]
    assert {entry["calibration_examples"] for name, entry in one.layers.items() if name} == {24}


@pytest.mark.parametrize(("bits", "most"), [(8, 0.03), (4, 0.3)])
@pytest.mark.parametrize("name", ["bert", "llama"])
def test_openvino_stores_weights_in_few_bits_and_multiplies_integers_if_it_can(
    name: str, bits: int, most: float
) -> None:
    model = MODELS[name]()
    inputs = batch(name, 4, 16)
    with torch.no_grad():
        dense = model(**inputs).logits
    plain = runtimes.finish(trainable(MODELS[name]()), "openvino").model
    fields: Any = {"format": "int8_weight"} if bits == 8 else {"group_size": 32}
    one = apply_step(trainable(model), Quantize(bits=bits, backend="openvino", **fields))  # type: ignore[arg-type]
    assert (one.runtime, one.model.kind) == ("openvino", "openvino")
    answer = one.model(**inputs).logits
    kept = inputs["attention_mask"].bool()
    ours, theirs = (answer, dense) if name == "bert" else (answer[kept], dense[kept])
    assert 1e-5 < float((ours - theirs).norm() / theirs.norm()) < most
    expected = "real" if devices.has_vnni() else "dequantized"
    assert kernels.label(one.model, inputs, torch.device("cpu"), low_bit=True).label == expected
    stored = [sum(f.stat().st_size for f in m.path.parent.glob("*.bin")) for m in (plain, one.model)]
    assert stored[1] < stored[0]


def test_openvino_refuses_groups_that_fit_no_layer() -> None:
    with pytest.raises(InputError, match="group_size 128 does not divide its 32 inputs"):
        apply_step(bundle(MODELS["bert"]()), Quantize(bits=4, backend="openvino", group_size=128))


THREADS = """
import os, sys, torch
from pathlib import Path
torch.set_num_threads(2)
torch.randn(300, 300) @ torch.randn(300, 300)  # OpenMP pins its threads now, this one first, where it is told to
from compress.model.runtimes.openvino import OpenVinoModel
def tasks():
    return {int(task.name) for task in Path("/proc/self/task").iterdir()}
import openvino
compile_model, compiled = openvino.Core.compile_model, []
def noting(*given):
    compiled.append(compile_model(*given))
    return compiled[-1]
openvino.Core.compile_model = noting
before = tasks()
model = OpenVinoModel(Path(sys.argv[1]), None)
for _ in range(20):
    model(input_ids=torch.full((64, 64), 5))
threads = compiled[0].get_property("INFERENCE_NUM_THREADS")
print(threads, sorted(set().union(*(os.sched_getaffinity(task) for task in tasks() - before))))
"""


@pytest.mark.skipif(not {0, 1} <= getattr(os, "sched_getaffinity", lambda _: set())(0), reason="needs two cores, Linux")
def test_openvino_has_as_many_threads_and_cores_where_openmp_is_pinned_as_elsewhere() -> None:
    graph = runtimes.finish(bundle(MODELS["bert"]()), "openvino").model
    free = {**os.environ, "PYTHONPATH": str(ROOT)}
    for name in ("OMP_NUM_THREADS", "OMP_PLACES", "OMP_PROC_BIND"):
        free.pop(name, None)
    pinned = {**free, "OMP_PROC_BIND": "close", "OMP_PLACES": "{0},{1}"}
    told = [
        subprocess.run(
            [sys.executable, "-c", THREADS, str(graph.path)], env=env, capture_output=True, text=True, check=True
        ).stdout.split(" ", 1)
        for env in (free, pinned)
    ]
    (threads, _), (threads_pinned, cores_pinned) = told
    assert threads_pinned == threads
    if int(threads) > 1:  # some machines give it a single core, pinned or not
        assert {0, 1} <= set(json.loads(cores_pinned))  # not [0], where all would share a core


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_zeroed_weights_are_seen_in_a_graph_too(runtime: str) -> None:
    inputs = batch("bert", 2, 8)
    for fraction, label in ((0.5, "masked"), (None, "real")):
        one = bundle(MODELS["bert"]())
        if fraction:
            one = apply_step(one, Prune(structure="unstructured", fraction=fraction))
        graph = runtimes.finish(one, runtime).model
        assert kernels.label(graph, inputs, torch.device("cpu"), low_bit=False).label == label
        assert kernels.zero_share(graph) == pytest.approx(kernels.zero_share(one.model), abs=0.01)


def test_layers_that_are_excluded_stay_in_floating_point() -> None:
    def products(**fields: Any) -> int:
        one = apply_step(trainable(MODELS["bert"]()), Quantize(format="int8_static", calibration_examples=8, **fields))
        weights = openvino.Core().read_model(str(one.model.path)).get_ops()
        return sum(op.get_type_name() == "Constant" and op.get_element_type().to_string() == "i8" for op in weights)

    every, fewer = products(), products(exclude=("*classifier*", "*pooler*", "*intermediate*"))
    assert every - fewer == 2  # one in each of two layers


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize(("size", "length"), [(1, 7), (5, 40), (2, 11), (1, 1), (16, 2)])
def test_a_graph_answers_like_the_model_at_every_shape(
    name: str, size: int, length: int, graphs: dict[str, Any]
) -> None:
    inputs = batch(name, size, length)
    with torch.no_grad():
        expected = MODELS[name]()(**inputs).logits
        answer = graphs[name](**inputs).logits
    if "attention_mask" in inputs and name == "llama":  # what a padded position says means nothing
        kept = inputs["attention_mask"].bool()
        expected, answer = expected[kept], answer[kept]
    torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-5)  # other order of the same fp32 sums


def test_a_graph_ignores_labels_and_fills_in_masks(graphs: dict[str, Any]) -> None:
    graph, ids = graphs["bert"], batch("bert", 3, 9)["input_ids"]
    ones, zeros = torch.ones_like(ids), torch.zeros_like(ids)
    full = graph(input_ids=ids, attention_mask=ones, token_type_ids=zeros, labels=torch.zeros(3)).logits
    assert torch.equal(full, graph(input_ids=ids).logits)
    assert torch.equal(full, graph(ids).logits)


def test_a_graph_looks_like_a_model(graphs: dict[str, Any]) -> None:
    graph = graphs["bert"]
    assert graph.config.num_labels == 2
    assert (graph.device, graph.dtype) == (torch.device("cpu"), torch.float32)
    assert list(graph.parameters()) == []
    assert not graph.training


def test_the_folder_of_a_graph_goes_with_it() -> None:
    graph = runtimes.finish(trainable(made_models.vit()), "onnxruntime").model
    folder = graph.path.parent
    assert folder.is_dir()
    del graph
    assert not folder.exists()


def test_exporting_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    model = made_models.vit().train()
    attention = model.config._attn_implementation
    export(model, tmp_path, batch("vit", 2, 0))
    assert model.training
    assert model.config._attn_implementation == attention


def test_exporting_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    export(made_models.vit(), tmp_path, batch("vit", 2, 0))
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


def test_a_half_precision_model_cannot_be_exported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="bfloat16; expected float32"):
        runtimes.finish(apply_step(bundle(made_models.bert()), Cast()), "onnxruntime")


def test_a_quantized_model_cannot_be_exported() -> None:
    one = apply_step(bundle(made_models.bert()), Quantize(bits=4, format="nf4", group_size=32))
    with pytest.raises(InputError, match="expected float32"):
        runtimes.finish(one, "onnxruntime")


def test_plain_models_run_eager_for_auto_and_quantized_ones_what_their_row_says() -> None:
    assert runtimes.finish(bundle(made_models.bert()), "auto").runtime == "eager"
    assert runtimes.finish(bundle(made_models.bert()), "compile").runtime == "compile"
    one = apply_step(bundle(made_models.bert(), runtime="compile"), Quantize(bits=8))
    assert runtimes.finish(one, "auto").runtime == runtimes.finish(one, one.runtime).runtime == "compile"


def test_runtimes_that_do_not_exist_on_the_device_are_refused() -> None:
    with pytest.raises(InputError, match="openvino does not exist on cuda"):
        runtimes.finish(bundle(made_models.bert(), device=torch.device("cuda")), "openvino")
    with pytest.raises(InputError, match="tensorrt does not exist on cpu"):
        runtimes.finish(bundle(made_models.bert()), "tensorrt")


def test_a_graph_runs_under_onnxruntime_only(graphs: dict[str, Any]) -> None:
    one = bundle(graphs["bert"])
    assert runtimes.finish(one, "auto").runtime == "onnxruntime"
    with pytest.raises(InputError, match="runtime compile: the model is a graph; expected runtime onnxruntime"):
        runtimes.finish(one, "compile")


def test_prepare_leaves_eager_models_and_graphs_alone(graphs: dict[str, Any]) -> None:
    model = made_models.bert()
    assert runtimes.prepare(model, "eager") is model
    assert isinstance(runtimes.prepare(graphs["bert"], "onnxruntime"), OnnxModel)


def test_compiling_without_a_compiler_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(InputError, match=r"install g\+\+"):
        runtimes.prepare(made_models.bert(), "compile")


def test_every_one_of_many_compiled_models_runs_compiled() -> None:
    """Models of transformers share the function that they enter through, and with it dynamo's count of variants."""
    ran: list[int] = []

    def noting(number: int) -> Any:
        def backend(graph: torch.fx.GraphModule, _inputs: Any) -> Any:
            def run(*given: Any) -> Any:
                ran.append(number)
                return graph(*given)

            return run

        return backend

    limits = torch._dynamo.config
    names = ("recompile_limit", "accumulated_recompile_limit", "fail_on_recompile_limit_hit")
    # of torch's own limit of 8: fewer models exceed it
    with limits.patch({name: getattr(limits, name) for name in names} | {"recompile_limit": 3}):
        torch._dynamo.reset()
        models = [
            compiled.compile_model(MODELS["bert"](layers=1), fixed=number % 2 == 1, backend=noting(number))
            for number in range(3)
        ]
        with torch.no_grad():
            for _ in range(2):
                for number, model in enumerate(models):
                    for size, length in ((4, 12), (1, 12), (3, 7)):
                        ran.clear()
                        model(**batch("bert", size, length))
                        assert ran == [number]
            limits.recompile_limit = 1
            with pytest.raises(torch._dynamo.exc.FailOnRecompileLimitHit):  # and not in silence, if ever
                models[1](**batch("bert", 5, 5))
    torch._dynamo.reset()


@pytest.mark.long
@pytest.mark.parametrize("quantize", [False, True], ids=["plain", "int8"])
@pytest.mark.parametrize("name", TASKS)
def test_a_compiled_model_answers_like_the_eager_one(name: str, quantize: bool) -> None:
    one = bundle(MODELS[name](layers=1), task=TASKS[name], runtime="compile")
    if quantize:
        one = apply_step(one, Quantize(bits=8))
    fast = runtimes.prepare(one.model, "compile")
    with torch.no_grad():
        for size, length in ((2, 11), (5, 24)):
            inputs = batch(name, size, length)
            expected = one.model(**inputs).logits
            # int8: another order of the same sums can move an activation by one step of 1/127
            tolerance = 0.05 if quantize else 1e-5
            torch.testing.assert_close(fast(**inputs).logits, expected, rtol=1e-3, atol=tolerance)


def test_attention_that_a_model_cannot_have_is_refused_and_not_left_as_it_was() -> None:
    from transformers import BloomConfig, BloomForCausalLM

    model = BloomForCausalLM(BloomConfig(vocab_size=64, hidden_size=32, n_layer=1, n_head=2))
    with pytest.raises(InputError, match="attention sdpa: BloomForCausalLM"):
        runtimes.prepare(model, "eager", "sdpa")
    one = MODELS["bert"]()
    assert runtimes.prepare(one, "eager", "eager").config._attn_implementation == "eager"


def test_int8_graphs_answer_texts_as_long_as_a_head_is_wide_as_well_as_others() -> None:
    """OpenVINO 2026.4 confuses the scores of such texts where they are int8 products; so they are none."""
    dense, width = MODELS["bert"](), 8
    step = Quantize(bits=8, format="int8_static", calibration_examples=16)
    made = apply_step(trainable(copy.deepcopy(dense)), step).model

    def error(length: int) -> float:
        ids = torch.randint(4, 28, (4, length), generator=torch.Generator().manual_seed(length))
        given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        with torch.no_grad():
            return float((made(**given).logits - dense(**given).logits).abs().max())

    assert error(width) < 2 * max(error(width - 1), error(width + 1))


def two_of_four(rows: int, columns: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    """A weight with two zeros in every four."""
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0)).reshape(-1, 4)
    weight[:, ::2] = 0
    return weight.reshape(rows, columns).to(dtype)


def test_only_weights_that_lose_nothing_are_given_to_sparse_kernels() -> None:
    fine = two_of_four(32, 48)
    assert sparse.fits(fine)
    assert sparse.fits(fine.half())
    assert not sparse.fits(fine.float())  # in 32 bits the cores take another pattern
    assert not sparse.fits(two_of_four(2, 48)) and not sparse.fits(two_of_four(32, 40))
    filled = fine.clone()
    filled[3, 4] = 1.0  # by training after pruning
    assert not sparse.fits(filled)


def test_pruned_layers_that_were_quantized_since_are_left_to_their_own_kernels() -> None:
    ao = pytest.importorskip("compress.model.packing.ao")
    linear = nn.Linear(64, 64).to(torch.bfloat16)
    linear.weight.data.view(-1, 4)[:, ::2] = 0
    model = nn.Sequential(ao.make(linear, {"format": "fp8"}))
    assert type(model[0]) is nn.Linear  # with a weight of torchao's own
    assert sparse.compress_layers(model, ["0"], lambda weight: weight) == []


def test_pruned_layers_are_converted_on_gpus_and_nothing_is_on_a_cpu() -> None:
    prune = Prune(structure="unstructured", pattern="2:4", fraction=0.5)
    one = apply_step(apply_step(bundle(made_models.bert()), prune), Cast(dtype="bf16"))
    before = {name: module.weight for name, module in one.model.named_modules() if isinstance(module, nn.Linear)}
    assert runtimes.prepare(one.model, "eager", layers=one.layers) is one.model
    assert all(one.model.get_submodule(name).weight is weight for name, weight in before.items())
    names = sparse.patterned(one.layers)
    assert names and not any("classifier" in name for name in names)
    seen: list[torch.Tensor] = []

    def convert(weight: torch.Tensor) -> torch.Tensor:
        seen.append(weight)
        return weight * 2

    one.model.get_submodule(names[0]).weight.data.fill_(1.0)
    assert sparse.compress_layers(one.model, names, convert) == names[1:]
    assert len(seen) == len(names) - 1
    for name in names[1:]:
        assert torch.equal(one.model.get_submodule(name).weight, 2 * before[name])
