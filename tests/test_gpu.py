"""On a machine with a GPU: every row of the format table, artifacts, meter and a whole run (`make gpu-test`).

What takes long is in `make gpu-test-long`; ten fresh runs of a recipe are among the sessions of `make gpu-results`.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch.sparse import SparseSemiStructuredTensor

from benchmarks import gpu_peers
from compress import Recipe, apply
from compress.analysis.joules import window_energy
from compress.base.device import Device
from compress.energy import nvml, peak_rates
from compress.energy.doctor.checkup import checkup
from compress.energy.find import find_meter
from compress.energy.meters import Absent, gpus_of
from compress.energy.peaks import MIB
from compress.energy.sampler import Sampler
from compress.measure import kernels, latency, warmup, windows
from compress.model.runtimes.sparse import CAPABILITY
from compress.records import files as result_files
from compress.records import machine
from compress.records.stats import paired_ratio
from compress.spec.formats import BITS, KERNELS_FROM, ROWS, Row
from compress.spec.measure import PROFILES
from tests.helpers import QUICK, compress, environment, tokenizer

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

ON_CUDA = [row for row in ROWS if row.device == "cuda"]


def wide_bert() -> object:
    """A BERT whose widths every kernel accepts."""
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=64, hidden_size=256, num_hidden_layers=2, num_attention_heads=4, intermediate_size=512,
        max_position_embeddings=64, num_labels=2,
    )  # fmt: skip
    return BertForSequenceClassification(config).eval()


@pytest.mark.parametrize("row", ON_CUDA, ids=[f"{r.format}-{r.backend}-{r.runtime}" for r in ON_CUDA])
def test_every_format_on_cuda_answers_nearly_like_the_dense_model(row: Row) -> None:
    if torch.cuda.get_device_capability() < row.capability:
        pytest.skip(f"its kernels need compute capability {row.capability}")
    bits = BITS[row.format]
    step = {"method": "quantize", "bits": bits, "format": row.format, "backend": row.backend}
    before = [{"method": "cast", "dtype": "bf16"}] if row.format == "fp8" else []
    recipe = Recipe.model_validate({"steps": [*before, step], "runtime": row.runtime})
    model = wide_bert().cuda()  # type: ignore[attr-defined]
    batch = {k: v.cuda() for k, v in tokenizer()(["the film was great"] * 16, return_tensors="pt").items()}
    with torch.no_grad():
        thin = apply(recipe, model, tokenizer())
        for texts in (16, 1):  # few rows have kernels of their own, or none
            batch = {key: value[:texts] for key, value in batch.items()}
            dense, ours = model(**batch).logits.float(), thin(**batch).logits.float()
            assert torch.isfinite(ours).all()
            if bits >= 3:  # fewer need training
                assert (ours - dense).norm() <= (0.3 if bits >= 4 else 0.6) * dense.norm() + 0.05
        found = kernels.label(thin, batch, torch.device("cuda:0"), low_bit=True)
    print(found)
    assert found.label == row.kernels


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_two_of_four_zeros_are_skipped_by_sparse_tensor_cores(dtype: str) -> None:
    if torch.cuda.get_device_capability() < CAPABILITY or not torch.backends.cusparselt.is_available():
        pytest.skip("needs sparse tensor cores and cuSPARSELt")
    prune = {"method": "prune", "structure": "unstructured", "fraction": 0.5, "pattern": "2:4"}
    recipe = Recipe.model_validate({"steps": [prune, {"method": "cast", "dtype": dtype}]})
    model = wide_bert().cuda()  # type: ignore[attr-defined]
    batch = {k: v.cuda() for k, v in tokenizer()(["the film was great"] * 16, return_tensors="pt").items()}
    thin = apply(recipe, model, tokenizer())
    held = [m for m in thin.modules() if isinstance(getattr(m, "weight", None), SparseSemiStructuredTensor)]
    assert len(held) >= 12  # six layers of each of two blocks
    tokens = torch.randn(4, 8, held[0].in_features, device="cuda", dtype=held[0].weight.dtype)
    assert held[0](tokens).stride(-1) == 1  # or attention takes its slowest kernel
    with torch.no_grad():
        ours = thin(**batch).logits.float()
        label = kernels.label(thin, batch, torch.device("cuda:0"), low_bit=False)
        for module in held:
            module.weight = torch.nn.Parameter(module.weight.to_dense(), requires_grad=False)
        dense = thin(**batch).logits.float()
    assert label.label == "real", label
    torch.testing.assert_close(ours, dense, atol=0.02, rtol=0.02)  # sums in another order


def launches_a_graph(model: Any, batch: dict[str, torch.Tensor]) -> bool:
    """Whether a batch is the replay of a CUDA graph, by what the host asks of the driver."""
    with torch.no_grad(), torch.profiler.profile() as recorded:
        model(**batch)
        torch.cuda.synchronize()
    return any(event.key.startswith("cudaGraphLaunch") for event in recorded.key_averages())


def test_fixed_shapes_run_as_cuda_graphs() -> None:
    recipe = Recipe.model_validate({"runtime": "compile", "padding": "fixed"})
    model = wide_bert().cuda()  # type: ignore[attr-defined]
    batch = {k: v.cuda() for k, v in tokenizer()(["the film was great"] * 8, return_tensors="pt").items()}
    with torch.no_grad():
        plain = model(**batch).logits
        compiled = apply(recipe, model, tokenizer())
        for _ in range(4):  # compiled, warmed, recorded, replayed
            answer = compiled(**batch).logits.clone()
        found = kernels.label(compiled, batch, torch.device("cuda:0"), low_bit=False)
    torch.testing.assert_close(answer, plain, atol=1e-3, rtol=1e-3)
    assert found.label == "real"
    assert launches_a_graph(compiled, batch)


@pytest.mark.parametrize("form", ["int8", "fp8"])
def test_low_bit_products_are_seen_inside_cuda_graphs(form: str) -> None:
    if torch.cuda.get_device_capability() < KERNELS_FROM[form, "torchao"]:  # type: ignore[index]
        pytest.skip("the GPU has no such products")
    steps = [{"method": "cast"}, {"method": "quantize", "bits": 8, "format": form, "backend": "torchao"}]
    recipe = Recipe.model_validate({"steps": steps, "runtime": "compile", "padding": "fixed"})
    batch = {k: v.cuda() for k, v in tokenizer()(["the film was great"] * 32, return_tensors="pt").items()}
    compiled = apply(recipe, wide_bert().cuda(), tokenizer())  # type: ignore[attr-defined]
    with torch.no_grad():
        for _ in range(4):
            compiled(**batch)
        found = kernels.label(compiled, batch, torch.device("cuda:0"), low_bit=True)
    print(found)
    assert found.label == "real"
    assert launches_a_graph(compiled, batch)


PROVIDERS = {"onnxruntime": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}


def skip_without(runtime: str) -> None:
    if PROVIDERS[runtime] not in onnxruntime.get_available_providers():
        pytest.skip(f"this onnxruntime has no {PROVIDERS[runtime]}")


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_a_graph_on_cuda_answers_like_the_model_and_its_tensors_stay_there(dtype: str) -> None:
    skip_without("onnxruntime")
    steps = [{"method": "cast", "dtype": dtype}] if dtype == "fp16" else []
    model = wide_bert().cuda()  # type: ignore[attr-defined]
    graph = apply(Recipe.model_validate({"steps": steps, "runtime": "onnxruntime"}), model, tokenizer())
    for texts in (16, 3, 16):  # made on torch's stream right before the graph reads them
        batch = {k: v.cuda() for k, v in tokenizer()(["the film was great"] * texts, return_tensors="pt").items()}
        answer = graph(**batch).logits
        assert answer.device == batch["input_ids"].device
        with torch.no_grad():
            expected = model(**batch).logits
        close = 0.02 if dtype == "fp16" else 1e-4  # without TF32 on either side
        torch.testing.assert_close(answer.float(), expected, atol=close, rtol=close)
    found = kernels.label(graph, batch, torch.device("cuda:0"), low_bit=False)
    print(found)
    assert found.label == "real"
    assert found.evidence  # torch's profiler sees the kernels that onnxruntime launches


@pytest.mark.parametrize("runtime", PROVIDERS)
def test_a_whole_run_of_a_graph_on_cuda(runtime: str, workload: Path, tmp_path: Path) -> None:
    skip_without(runtime)
    change = ("--set", f"runtime={runtime}") if runtime != "onnxruntime" else ()
    command = ("run", "onnxruntime_fp16", *change, "--workload", workload, *QUICK, "--device", "cuda")
    done = compress(*command, cwd=tmp_path, started=True)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "results" / "my").glob("*.json")
    row = result_files.read(path)
    assert row.runtime == runtime
    assert f"fp16 {runtime}" in {each.name for each in row.references}


def test_the_meter_is_the_boards_own_counter_and_it_moves_under_load() -> None:
    found = machine.describe(Device("cuda", (0,)))
    meter = find_meter("cuda", gpus_of(found.details))
    assert not isinstance(meter, Absent), meter
    start = meter.read_uj()
    a = torch.randn(4096, 4096, device="cuda")
    for _ in range(400):
        a = (a @ a).clamp(-1, 1)
    torch.cuda.synchronize()
    assert meter.read_uj() > start


def test_the_counter_as_a_field_is_the_same_counter() -> None:
    """Prints what each way of asking costs: where the field is much cheaper, it is the one to ask for."""
    import pynvml

    meter = nvml.find(*gpus_of(machine.describe(Device("cuda", (0,))).details))
    assert not isinstance(meter, Absent), meter
    if meter.integrated:
        pytest.skip("this board has no counter")
    handle = pynvml.nvmlDeviceGetHandleByUUID(meter.uuid)

    def field() -> int:
        (told,) = pynvml.nvmlDeviceGetFieldValues(handle, [pynvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION])
        if told.nvmlReturn != pynvml.NVML_SUCCESS:
            pytest.skip(f"this board has no such field: NVML answers {told.nvmlReturn}")
        return 1000 * int(told.value.ullVal)  # mJ

    for name, ask in (("call", meter.read_uj), ("field", field)):
        start, busy = time.perf_counter(), time.thread_time()
        for _ in range(50):
            ask()
        wall, busy = (time.perf_counter() - start) / 50, (time.thread_time() - busy) / 50
        print(f"{name}: {1e6 * wall:.0f} us, {1e6 * busy:.0f} us of them on the processor")
    before = meter.read_uj()
    time.sleep(0.5)  # the two may move at other moments
    between = field()
    time.sleep(0.5)
    assert before <= between <= meter.read_uj()


def test_zeus_counts_the_same_joules_over_the_same_loop() -> None:
    theirs = gpu_peers.zeus_monitor(torch.device("cuda:0"))
    if theirs is None:
        pytest.skip("zeus is not installed")
    meter = nvml.find(*gpus_of(machine.describe(Device("cuda", (0,))).details))
    assert not isinstance(meter, Absent), meter
    assert meter.step_s is not None
    model = wide_bert().cuda()  # type: ignore[attr-defined]
    words = tokenizer()(["the film was great"] * 256, return_tensors="pt").items()
    batches, sync = [{k: v.cuda() for k, v in words}], latency.synchronizer([torch.device("cuda")])
    with Sampler(meter) as sampler:
        ours, counted, _ = gpu_peers.window(model, batches, 8, sync, meter, sampler, theirs)
    print(f"zeus {counted} J, ours {ours} J a batch")
    assert ours is not None
    assert abs(counted / ours - 1) <= 0.02


def test_a_whole_run_on_cuda_measures_energy(workload: Path, tmp_path: Path) -> None:
    names = ("bert_dense", "bert_bf16", "bert_int8", "bert_int4", "bert_lowrank")
    done = compress("run", *names, "--workload", workload, *QUICK, "--device", "cuda", cwd=tmp_path, started=True)
    assert done.returncode == 0, done.stderr
    for path in (tmp_path / "results" / "my").glob("*.json"):
        point = result_files.read(path).headline
        assert point is not None
        assert point.energy_source in ("nvml", None)
        assert point.energy_j is not None or point.energy_reason


def test_an_artifact_made_on_cuda_answers_the_same_in_a_fresh_process(workload: Path, tmp_path: Path) -> None:
    done = compress("run", "bert_int4", "--workload", workload, *QUICK, "--device", "cuda", cwd=tmp_path, started=True)
    assert done.returncode == 0, done.stderr
    program = (
        "import sys, torch; from compress import load\n"
        "model, tokens = load(sys.argv[1], device='cuda')\n"
        "batch = {k: v.cuda() for k, v in tokens(['the film was great'], return_tensors='pt').items()}\n"
        "print(model(**batch).logits.float().tolist())"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "artifacts" / "my" / "bert_int4")]
    answers = [
        subprocess.run(command, capture_output=True, text=True, check=True, env=environment()).stdout for _ in "ab"
    ]
    assert answers[0] == answers[1]


def test_the_doctor_finds_the_boards_meter_and_leaves_a_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path))
    told = "\n".join(checkup("cuda", quick=True))
    print(told)
    for words in ("counter moves every", "power at load", "repeatability", "linearity"):
        assert words in told
    assert list((tmp_path / "meters").glob("*.json"))


def _windows(runs: int, rounds: int) -> list[tuple[list[float], list[float]]]:
    """Joules per batch of one model under two names, round by round, `runs` times over."""
    found = machine.describe(Device("cuda", (0,)))
    meter = nvml.find(*gpus_of(found.details))
    assert not isinstance(meter, Absent), meter
    assert meter.step_s is not None
    settings = PROFILES["standard"].model_copy(update={"window_s": 2.0, "preroll_s": 0.3})
    model = wide_bert().cuda()  # type: ignore[attr-defined]
    words = tokenizer()(["the film was great"] * 256, return_tensors="pt").items()
    batches, sync = [{k: v.cuda() for k, v in words}], latency.synchronizer([torch.device("cuda")])
    made = []
    with Sampler(meter) as sampler:
        warmup.settle([model], batches, sync, meter, 90)
        for _ in range(runs):
            joules: tuple[list[float], list[float]] = ([], [])
            for _ in range(rounds):
                for into in joules:
                    window = windows.measure_window(model, batches, settings, sync, meter, sampler)
                    energy = window_energy(sampler.samples, window.started_ns, window.ended_ns, meter.step_s)
                    assert energy.joules is not None, energy.reason
                    into.append(energy.joules / len(window.batch_ns))
            made.append(joules)
    return made


@pytest.mark.long
def test_ten_windows_repeat_and_a_model_seldom_differs_from_itself() -> None:
    made = _windows(10, 6)
    means = [statistics.mean(one) for one, _ in made]
    ratios = [paired_ratio(one, two) for one, two in made]
    spread = statistics.stdev(means) / statistics.mean(means)
    different = sum(not r.low <= 1 <= r.high for r in ratios)
    print(f"cv of ten repetitions {100 * spread:.2f} %; {different} of 10 pairs called different")
    assert spread <= 0.01
    assert different <= 2


def test_doctor_measures_the_peak_of_every_number_format_that_the_gpu_multiplies() -> None:
    found = peak_rates.measured(torch.device("cuda:0"), 512 * MIB)
    has_float8 = torch.cuda.get_device_capability() >= (8, 9)
    expected = {"float32", "tf32", "float16", "bfloat16", "int8"} | ({"float8"} if has_float8 else set())
    assert set(found.products) == expected
    if has_float8:
        assert 1.2 < found.products["float8"] / found.products["bfloat16"] < 3  # twice as many by its data sheet
    else:
        assert found.remarks["float8"]
