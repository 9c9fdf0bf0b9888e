"""onnxruntime's providers: the one that is asked for computes, or an error says why not; tensors stay where they are.

No GPU is needed: providers that are not here are faked by name, and binding runs on the CPU's.
"""

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from compress.analysis.verdict import runtime_reference
from compress.base import devices
from compress.base.config import InputError
from compress.base.device import Device
from compress.data.workload import Workload
from compress.harness import references, transform
from compress.harness.plan import Options, Planned, plan
from compress.measure import memory_gpu
from compress.measure.job import Spec, read_job, write_job
from compress.methods import apply_step
from compress.model import artifact, runtimes
from compress.model.runtimes import providers
from compress.model.runtimes.graph import OnnxModel
from compress.model.runtimes.onnx import exported
from compress.model.runtimes.providers import Place, Shapes
from compress.records.session import Memory
from compress.spec.recipe import Recipe
from compress.spec.steps import Cast, Quantize
from tests import factory, made_models
from tests.made_models import bundle
from tests.measure.test_runners import job as runner_job

ON_GPU = ["CUDAExecutionProvider", "CPUExecutionProvider"]
WITH_TENSORRT = ["TensorrtExecutionProvider", *ON_GPU]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Says which providers onnxruntime has, and which options it was given for each when it opened a graph."""
    opened: dict[str, dict[str, str]] = {}

    def fake(there: Sequence[str], got: Sequence[str] | None = None) -> dict[str, dict[str, str]]:
        def session(path: str, options: Any, providers: Any, enable_fallback: int) -> Any:
            assert enable_fallback == 0
            opened.update(dict(providers))
            return SimpleNamespace(get_providers=lambda: list(got or [name for name, _ in providers]))

        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(there))
        monkeypatch.setattr(onnxruntime, "InferenceSession", session)
        return opened

    return fake


def batch(size: int = 3, length: int = 9) -> dict[str, torch.Tensor]:
    ids = torch.randint(4, 64, (size, length), generator=torch.Generator().manual_seed(length))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}


@pytest.fixture(scope="module")
def graph() -> OnnxModel:
    return exported(made_models.bert(layers=1), batch())


@pytest.fixture(scope="module")
def half_graph() -> Iterator[OnnxModel]:
    """A graph in fp16, as a GPU gets it; the CPU's provider computes it too, with casts between."""
    model = apply_step(bundle(made_models.bert(layers=1)), Cast(dtype="fp16")).model
    there = exported(model, batch(), "onnxruntime", torch.device("cuda"))
    assert there.place == Place("onnxruntime", Device("cuda"), half=True)
    yield OnnxModel(there.path, there.config, place=Place(half=True))
    assert there.path.is_file()  # its folder goes with it


def test_bound_tensors_give_what_a_plain_run_gives_at_every_shape(graph: OnnxModel) -> None:
    answers = []
    for size, length in ((1, 5), (4, 17), (1, 5), (16, 2)):
        inputs = batch(size, length)
        plain = graph.session.run(["logits"], {name: tensor.numpy() for name, tensor in inputs.items()})[0]
        answers.append((providers.run(graph.session, inputs, graph.place), plain))
        assert torch.equal(graph(**inputs).logits, answers[-1][0])
    for ours, plain in answers:  # after all of them: no answer lies where a later one was written
        assert np.array_equal(ours.numpy(), plain)
        assert ours.device == graph.device == torch.device("cpu")


def test_tensors_that_are_not_contiguous_are_read_as_they_are_meant(graph: OnnxModel) -> None:
    inputs = batch(4, 6)
    turned = {name: tensor.t().contiguous().t() for name, tensor in inputs.items()}
    assert not turned["input_ids"].is_contiguous()
    assert torch.equal(providers.run(graph.session, turned, graph.place), graph(**inputs).logits)


def test_a_graph_in_half_precision_answers_in_half_precision(half_graph: OnnxModel) -> None:
    inputs = batch()
    answer = half_graph(**inputs).logits
    assert half_graph.dtype == answer.dtype == torch.float16
    with torch.no_grad():
        torch.testing.assert_close(answer.float(), made_models.bert(layers=1)(**inputs).logits, atol=0.01, rtol=0.01)
    assert {weight.dtype for weight in half_graph.weights()} == {np.dtype(np.float16)}


def test_half_precision_is_exported_for_gpus_only() -> None:
    for dtype, device, told in (
        ("fp16", "cpu", "float16; expected float32; remove"),
        ("bf16", "cuda", "bfloat16; expected float32 or float16; cast to fp16"),
    ):
        model = apply_step(bundle(made_models.bert(layers=1)), Cast(dtype=dtype)).model
        with pytest.raises(InputError, match=told):
            exported(model, batch(), "onnxruntime", torch.device(device))


def test_shapes_of_outputs_follow_the_names_of_dimensions() -> None:
    inputs = {"input_ids": ["batch", "length"], "attention_mask": ["other", "length"]}
    given = {"input_ids": torch.zeros(3, 7), "attention_mask": torch.zeros(3, 7)}
    assert providers.output_shape(["batch", "length", 64], inputs, given) == (3, 7, 64)
    assert providers.output_shape(["batch", 2], inputs, given) == (3, 2)


@pytest.mark.parametrize(
    ("runtime", "there", "missing", "install"),
    [
        ("onnxruntime", ["CPUExecutionProvider"], "CUDAExecutionProvider", "install onnxruntime-gpu in"),
        ("tensorrt", ON_GPU, "TensorrtExecutionProvider", "install onnxruntime-gpu and TensorRT in"),
    ],
)
def test_a_provider_that_is_not_installed_is_named_with_what_to_install(
    runtime: str, there: list[str], missing: str, install: str, installed: Any
) -> None:
    installed(there)
    with pytest.raises(InputError, match=f"{runtime} on cuda needs {missing}.*{install}"):
        providers.check(runtime, "cuda")
    installed([missing, *there])
    providers.check(runtime, "cuda")


def test_a_provider_that_cannot_be_loaded_is_an_error_and_not_the_cpu(installed: Any) -> None:
    installed(ON_GPU, got=["CPUExecutionProvider"])
    with pytest.raises(InputError, match="CUDAExecutionProvider cannot be loaded: onnxruntime took CPUExecution"):
        providers.open_session(Path("model.onnx"), Place("onnxruntime", Device("cuda", (0,))), None)


def test_the_cuda_provider_gets_its_device_and_leaves_fp32_exact(installed: Any) -> None:
    opened = installed(ON_GPU)
    providers.open_session(Path("model.onnx"), Place("onnxruntime", Device("cuda", (1,))), None)
    assert opened == {"CUDAExecutionProvider": {"device_id": "1", "use_tf32": "0"}, "CPUExecutionProvider": {}}


@pytest.mark.parametrize("half", [False, True])
def test_tensorrt_gets_the_range_of_shapes_and_fp16_only_for_a_graph_in_fp16(
    half: bool, graph: OnnxModel, installed: Any
) -> None:
    opened = installed(WITH_TENSORRT)
    place = Place("tensorrt", Device("cuda", (0,)), half, Shapes((8, 64), (32, 128)))
    providers.open_session(graph.path, place, None)
    assert list(opened) == WITH_TENSORRT
    options = opened["TensorrtExecutionProvider"]
    assert options["trt_fp16_enable"] == str(int(half))
    assert options["trt_engine_cache_enable"] == "0"
    for which, size in (("min", "1x1"), ("opt", "8x64"), ("max", "32x128")):
        said = ",".join(f"{name}:{size}" for name in ("input_ids", "attention_mask", "token_type_ids"))
        assert options[f"trt_profile_{which}_shapes"] == said
    with pytest.raises(InputError, match="for the shapes of a workload"):
        providers.open_session(graph.path, Place("tensorrt", Device("cuda", (0,))), None)


def test_only_what_varies_has_a_range_and_images_have_no_tokens() -> None:
    inputs: dict[str, list[int | str]] = {"pixel_values": ["s33", 3, 224, 224], "scale": [1]}
    made = providers.shape_profile(inputs, Shapes((8, None), (64, None)))
    assert made == {
        "trt_profile_min_shapes": "pixel_values:1x3x224x224",
        "trt_profile_opt_shapes": "pixel_values:8x3x224x224",
        "trt_profile_max_shapes": "pixel_values:64x3x224x224",
    }


def test_an_engine_takes_the_batches_of_evaluation_and_of_every_point() -> None:
    plain = {"name": "mine", "task": "text-classification", "model": "m", "dataset": {"path": "d"}, "max_length": 32}
    mine = Workload.model_validate({**plain, "headline": {"batch_size": 4, "sequence_length": 16}})
    assert transform.shapes_of(mine) == Shapes((4, 16), (32, 32))
    larger = {**mine.model_dump(), "points": [{"batch_size": 128, "sequence_length": 8}]}
    assert transform.shapes_of(Workload.model_validate(larger)).most == (128, 32)


def test_nodes_that_another_provider_computes_are_counted_and_named() -> None:
    def part(provider: str, *kinds: str) -> Any:
        return SimpleNamespace(ep_name=provider, get_nodes=lambda: [SimpleNamespace(op_type=kind) for kind in kinds])

    parts = [part("CPUExecutionProvider", "Shape"), part("CUDAExecutionProvider", "MatMul", "Add"),
             part("CPUExecutionProvider", "Gather", "Shape")]  # fmt: skip
    session = SimpleNamespace(get_provider_graph_assignment_info=lambda: parts)
    said = providers.elsewhere(session, Place("onnxruntime", Device("cuda", (0,))))
    assert said == "3 of 5 nodes stayed with CPUExecutionProvider (Shape, Gather)"


def test_a_graph_that_one_provider_computes_alone_has_no_remark(graph: OnnxModel) -> None:
    assert graph.remark() == ""
    parts = graph.session.get_provider_graph_assignment_info()
    assert "MatMul" in {node.op_type for part in parts for node in part.get_nodes()}  # it was recorded


@pytest.fixture
def planned(workload: Path, tmp_path: Path) -> Callable[..., list[Planned]]:
    """Plans recipes for a device, which refuses those that it cannot run; no weight is loaded."""

    def on(device: str, recipes: Sequence[Recipe], **options: Any) -> list[Planned]:
        given = Options(workload=str(workload), out=tmp_path / "r", artifacts=tmp_path / "a", **options)
        return plan(recipes, given, factory.machine(device=device))

    return on


@pytest.fixture
def on(planned: Callable[..., list[Planned]]) -> Callable[..., None]:
    """Plans one recipe, given by its fields."""

    def one(device: str, **recipe: Any) -> None:
        planned(device, [Recipe.model_validate({"name": "mine", **recipe})])

    return one


def test_recipes_for_graphs_on_gpus_are_refused_with_the_reason_before_anything_is_loaded(
    installed: Any, on: Callable[..., None]
) -> None:
    installed(WITH_TENSORRT)
    fp16, bf16 = ({"method": "cast", "dtype": dtype} for dtype in ("fp16", "bf16"))
    for runtime in ("onnxruntime", "tensorrt"):
        on("cuda:0", runtime=runtime)
        on("cuda:0", runtime=runtime, steps=[fp16])
        with pytest.raises(InputError, match="takes models in fp32 or fp16; cast to fp16"):
            on("cuda:0", runtime=runtime, steps=[bf16])
        with pytest.raises(InputError, match="one GPU"):
            on("cuda:0,cuda:1", runtime=runtime)
        with pytest.raises(InputError, match="does not exist on cuda"):
            on("cuda:0", runtime=runtime, steps=[{"method": "quantize", "bits": 8}])
    with pytest.raises(InputError, match="openvino runs on the CPU only"):
        on("cuda:0", runtime="openvino")
    with pytest.raises(InputError, match="tensorrt runs on CUDA only"):
        on("cpu", runtime="tensorrt")
    with pytest.raises(InputError, match="remove the cast step"):
        on("cpu", runtime="onnxruntime", steps=[fp16])
    installed(["CPUExecutionProvider"])
    on("cpu", runtime="onnxruntime")
    with pytest.raises(InputError, match="mine runtime: onnxruntime on cuda needs CUDAExecutionProvider"):
        on("cuda:0", runtime="onnxruntime")


def test_fp8_on_a_gpu_is_refused_in_models_that_are_not_bf16_before_anything_is_loaded(
    on: Callable[..., None],
) -> None:
    fp8 = {"method": "quantize", "bits": 8, "format": "fp8"}
    fp16, bf16 = ({"method": "cast", "dtype": dtype} for dtype in ("fp16", "bf16"))
    on("cuda:0", steps=[bf16, fp8])
    on("cpu", steps=[fp8])
    for before in ([], [fp16]):
        with pytest.raises(InputError, match=rf"mine steps\.{len(before)}: fp8 on a GPU .* cast, dtype: bf16"):
            on("cuda:0", steps=[*before, fp8])


def test_the_recipe_in_half_precision_is_left_out_where_there_is_no_gpu(
    planned: Callable[..., list[Planned]], capsys: pytest.CaptureFixture[str]
) -> None:
    both = [Recipe.load(name) for name in ("onnxruntime_fp16", "bert_dense")]
    (left,) = planned("cpu", both, fitting=True)
    assert left.recipe.name == "bert_dense"
    assert "onnxruntime_fp16 is left out: onnxruntime_fp16 runtime: onnxruntime takes fp32" in capsys.readouterr().err


def test_a_graph_says_where_it_can_be_loaded(tmp_path: Path, half_graph: OnnxModel, installed: Any) -> None:
    one = bundle(half_graph, layers={"": {"dtype": "fp16"}})
    artifact.save(one, tmp_path / "graph", {"runtime": "onnxruntime"})
    model, _, _ = artifact.load(tmp_path / "graph")  # slowly, but it can
    assert torch.equal(model(**batch()).logits, half_graph(**batch()).logits)
    shapes = {"usual": [8, 64], "most": [32, 128]}
    artifact.save(one, tmp_path / "engine", {"runtime": "tensorrt", "shapes": shapes})
    with pytest.raises(InputError, match="a graph of tensorrt, which runs on cuda; got device cpu"):
        artifact.load(tmp_path / "engine")
    with pytest.raises(InputError, match="graph: onnxruntime on cuda needs CUDAExecutionProvider"):
        artifact.load(tmp_path / "graph", device=Device("cuda"))
    opened = installed(WITH_TENSORRT)
    model, _, _ = artifact.load(tmp_path / "engine", device=Device("cuda", (0,)))
    assert model.place == Place("tensorrt", Device("cuda", (0,)), half=True, shapes=Shapes((8, 64), (32, 128)))
    assert opened["TensorrtExecutionProvider"]["trt_fp16_enable"] == "1"


def test_an_int8_graph_stays_on_the_cpu(tmp_path: Path, installed: Any) -> None:
    artifact.save(apply_step(bundle(made_models.bert(layers=1)), Quantize(bits=8)), tmp_path / "a")
    installed(ON_GPU)
    with pytest.raises(InputError, match="int8 through onnxruntime does not exist on cuda"):
        artifact.load(tmp_path / "a", device=Device("cuda"))


def test_apply_makes_no_engine_without_a_workload() -> None:
    with pytest.raises(InputError, match="tensorrt: its engine is built for a workload's shapes"):
        transform.apply(Recipe(runtime="tensorrt"), made_models.bert(layers=1), None)


def test_tensorrt_says_that_it_may_round_fp32(installed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(WITH_TENSORRT)
    unchecked = lambda one, runtime: exported(one.model, batch(), runtime, one.device)  # noqa: E731  no GPU is here
    monkeypatch.setattr(runtimes, "checked", unchecked)
    plain = runtimes.finish(bundle(made_models.bert(layers=1), device=torch.device("cuda")), "tensorrt")
    assert (plain.runtime, plain.model.place.half) == ("tensorrt", False)
    assert "TF32" in plain.notes[-1]
    half = apply_step(bundle(made_models.bert(layers=1), device=torch.device("cuda")), Cast(dtype="fp16"))
    assert not runtimes.finish(half, "tensorrt").notes


def built(name: str, runtime: str, padded_to: int | None = None, kv_cache: str = "auto", **cast: str) -> Any:
    """As much of a built recipe as its references are chosen by."""
    extra = {"runtime": runtime, "padded_to": padded_to, "kv_cache": kv_cache}
    manifest = SimpleNamespace(extra=extra, layers={"": cast} if cast else {})
    return SimpleNamespace(recipe=Recipe(name=name), source=None, manifest=manifest)


def test_graphs_are_judged_beside_the_dense_graph_of_their_own_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "computes_bf16", lambda device: True)
    monkeypatch.setattr(references, "found_format", lambda found: None)
    made: dict[str, tuple[Any, ...]] = {}
    monkeypatch.setattr(
        transform, "build", lambda recipe, found, device, folder, *rest: made.update({folder.name: (recipe, device)})
    )
    monkeypatch.setattr(references, "transform_inputs", lambda *_: [])
    monkeypatch.setattr(references, "weight_bytes", lambda _: references.MOST_CACHED_BYTES + 1)  # exported for this run
    items = [built("a", "onnxruntime", dtype="fp16"), built("b", "onnxruntime"), built("c", "tensorrt", dtype="fp16"),
             built("d", "compile", dtype="bf16"), built("e", "eager", dtype="fp16"),
             built("f", "compile", padded_to=64), built("g", "compile", kv_cache="static"),
             built("h", "eager", kv_cache="static"), built("i", "compile", kv_cache="static")]  # fmt: skip
    for item in items:
        item.source = SimpleNamespace(model="m", workload=SimpleNamespace(name="w"))
    made_of = references.build_references(items, factory.machine(device="cuda:0"), tmp_path)
    assert [each.name for each in made_of] == [
        "fp32 eager", "bf16 eager", "bf16 compile", "bf16 compile with static cache", "bf16 compile padded",
        "fp16 onnxruntime", "fp32 onnxruntime", "fp16 tensorrt",
    ]  # fmt: skip
    assert {each.name: each.padded_to for each in made_of if each.padded_to} == {"bf16 compile padded": 64}
    assert [each.name for each in made_of if each.kv_cache == "static"] == ["bf16 compile with static cache"]
    assert {device for _, device in made.values()} == {torch.device("cuda:0")}
    steps = {each.name: made[Path(each.path).name][0].steps for each in made_of if each.path}
    assert steps == {
        "fp16 onnxruntime": (Cast(dtype="fp16"),), "fp32 onnxruntime": (), "fp16 tensorrt": (Cast(dtype="fp16"),),
    }  # fmt: skip


def test_a_saving_is_split_by_the_dense_graph_of_the_recipes_own_precision() -> None:
    references = tuple(factory.reference(name, name == factory.FP32) for name in
                       (factory.FP32, "fp16 onnxruntime", "fp32 onnxruntime"))  # fmt: skip
    plain = factory.result(runtime="onnxruntime", references=references)
    half = replace(plain, recipe={"steps": [{"method": "cast", "dtype": "fp16"}]})
    assert runtime_reference(plain) == "fp32 onnxruntime"
    assert runtime_reference(half) == "fp16 onnxruntime"
    assert runtime_reference(replace(half, references=references[::2])) == "fp32 onnxruntime"
    padded = replace(plain, recipe={"padding": "fixed"})
    assert runtime_reference(padded) is None  # what padding saves is not the compression's
    beside = replace(padded, references=(*references, factory.reference("fp32 onnxruntime padded", False)))
    assert runtime_reference(beside) == "fp32 onnxruntime padded"
    assert runtime_reference(replace(beside, recipe={})) == "fp32 onnxruntime"
    compiled = [replace(references[1], name=f"bf16 compile{end}") for end in ("", " with static cache")]
    both = replace(plain, runtime="compile", references=(*references[:1], *compiled))
    assert runtime_reference(replace(both, recipe={"kv_cache": "static"})) == "bf16 compile with static cache"
    assert runtime_reference(both) == "bf16 compile"


GB = 1_000_000_000


@pytest.mark.parametrize(
    ("peak", "groups"), [(GB, [1, 5]), (20 * GB, [1, 2, 2, 1]), (None, [1] * 6)], ids=["small", "large", "unknown"]
)
def test_as_many_models_as_fit_have_their_memory_measured_side_by_side(
    peak: int | None, groups: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: list[str] = []
    together: list[int] = []
    shares: list[int] = []
    memory = Memory(reason="it failed") if peak is None else Memory(peak, peak)

    class Process:
        """`python -m compress.measure.memory_gpu JOB NUMBER` on a GPU with 100 GB free; it ends when waited for."""

        def __init__(self, command: list[str], env: dict[str, str], **_: Any) -> None:
            assert command[1:4] == ["-m", "compress.measure.memory_gpu", str(tmp_path / "job.json")]
            self.number = command[4]
            alive.append(self.number)
            shares.append(int(env["TORCHINDUCTOR_COMPILE_THREADS"]))

        def __enter__(self) -> "Process":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def wait(self) -> int:
            if alive:
                together.append(len(alive))
                alive.clear()
            figures = memory_gpu.Child(memory, 100 * GB)
            (tmp_path / f"memory-{self.number}.json").write_text(json.dumps(asdict(figures)))
            return 0

    monkeypatch.setattr(subprocess, "Popen", Process)
    monkeypatch.delenv("TORCHINDUCTOR_COMPILE_THREADS", raising=False)
    monkeypatch.setattr(memory_gpu, "free_bytes", lambda device: 200 * GB)
    specs = tuple(Spec(str(number), "", "", "eager", False, False, False) for number in range(6))
    graph = Spec("graph", "", "", "onnxruntime", False, False, False)
    job: Any = SimpleNamespace(runners=(graph, *specs), device=Device("cuda", (0,)), threads=10)
    measured = memory_gpu.measure_gpu_memory(job, tmp_path / "job.json")
    assert together == groups
    assert shares == [10 // count for count in groups for _ in range(count)]
    assert measured.pop("graph") == Memory(reason=memory_gpu.UNSEEN)  # torch does not count it: unknown, not small
    assert measured == {str(number): memory for number in range(6)}


def test_a_process_that_cannot_tell_a_models_memory_says_why(workload: Path, tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    job = runner_job(workload, "auto")
    write_job(path, replace(job, runners=job.runners[:1]))  # on a CPU, where torch counts nothing
    found = memory_gpu.measure_gpu_memory(read_job(path), path)
    assert set(found) == {"fp32 eager"}
    assert all(memory == Memory(reason=memory.reason) and memory.reason for memory in found.values())
