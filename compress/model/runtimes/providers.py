"""onnxruntime's execution providers: which ones a runtime needs on a device, and sessions that surely compute there.

    onnxruntime  cpu   CPU
    onnxruntime  cuda  CUDA, and the CPU for what it has no kernels for (shapes, mostly)
    tensorrt     cuda  TensorRT, then CUDA, then the CPU

onnxruntime only warns where a provider is missing or cannot be loaded, and computes on the CPU instead. So what is
installed is looked at before anything is loaded, what a session got after it was opened, and nothing falls back later.
https://onnxruntime.ai/docs/execution-providers/
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.base.config import InputError
from compress.model.runtimes import unsigned

if TYPE_CHECKING:
    import torch

PROVIDERS: dict[tuple[str, str], tuple[str, ...]] = {
    ("onnxruntime", "cpu"): ("CPUExecutionProvider",),
    ("onnxruntime", "cuda"): ("CUDAExecutionProvider", "CPUExecutionProvider"),
    ("tensorrt", "cuda"): ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
}
"""(runtime, type of device) -> its providers, the one that is to do the work first."""


@dataclass(frozen=True)
class Shapes:
    """Batch size and tokens (None for images) that a TensorRT engine is made for; the least is 1 of each."""

    usual: tuple[int, int | None]
    """What it is made fastest for."""
    most: tuple[int, int | None]
    """The largest that it takes."""


@dataclass(frozen=True)
class Place:
    """What executes a graph, and where."""

    runtime: str = "onnxruntime"
    device: str = "cpu"
    half: bool = False
    """The graph is in fp16."""
    shapes: Shapes | None = None
    """Needed by tensorrt only."""

    @property
    def device_type(self) -> str:
        """`cpu` or `cuda`."""
        return self.device.partition(":")[0]

    @property
    def device_id(self) -> int:
        """Number of the GPU, torch's present one where the device has none; 0 for the CPU."""
        number = self.device.partition(":")[2]
        if number or self.device_type == "cpu":
            return int(number or 0)
        import torch

        return torch.cuda.current_device()


def check(runtime: str, device_type: str) -> None:
    """Raises InputError when the installed onnxruntime has not the provider that `runtime` needs on such a device."""
    import onnxruntime

    wanted, there = PROVIDERS[runtime, device_type][0], onnxruntime.get_available_providers()
    if wanted not in there:
        raise InputError(
            f"{runtime} on {device_type} needs {wanted}; the installed onnxruntime has {', '.join(there)} only; "
            f"{_advice(runtime)}"
        )


def _advice(runtime: str) -> str:
    more = " and TensorRT" if runtime == "tensorrt" else ""
    return f"install onnxruntime-gpu{more} in onnxruntime's place, or take eager or compile"


def open_session(path: Path, place: Place, options: Any) -> Any:
    """An InferenceSession of a graph, under the provider that was asked for and under no other.

    Signed weights become unsigned on a CPU that would multiply them wrongly. Raises InputError where the provider is
    missing or cannot be loaded.
    """
    import onnxruntime

    check(place.runtime, place.device_type)
    wanted = PROVIDERS[place.runtime, place.device_type]
    providers = [(name, _options(name, path, place)) for name in wanted]
    with unsigned.readable(path) if place.device_type == "cpu" else nullcontext(path) as file:
        session = onnxruntime.InferenceSession(str(file), options, providers=providers, enable_fallback=0)
    got = session.get_providers()
    if got[0] != wanted[0]:
        raise InputError(
            f"{wanted[0]} cannot be loaded: onnxruntime took {', '.join(got)} in its place, for which CUDA, cuDNN"
            f"{', TensorRT' if place.runtime == 'tensorrt' else ''} or the driver are missing or of another version; "
            f"{_advice(place.runtime)}"
        )
    return session


def _options(provider: str, path: Path, place: Place) -> dict[str, str]:
    """Options of one provider."""
    if provider == "CPUExecutionProvider":
        return {}
    device = {"device_id": str(place.device_id)}
    if provider == "CUDAExecutionProvider":
        return {**device, "use_tf32": "0"}  # fp32 is fp32, as under torch; onnxruntime would take TF32 by itself
    if place.shapes is None:
        raise InputError("tensorrt makes its engines for the shapes of a workload; run the recipe on one")
    return {
        **device,
        "trt_fp16_enable": str(int(place.half)),
        "trt_engine_cache_enable": "0",  # a cached engine outlives a change of versions unnoticed
        **shape_profile(_input_shapes(path), place.shapes),
    }


def shape_profile(inputs: Mapping[str, Sequence[int | str]], shapes: Shapes) -> dict[str, str]:
    """TensorRT's range of shapes for all inputs whose shape varies: `input_ids:1x1`, ... `input_ids:32x128`.

    `inputs`: name -> dimensions; one that varies is a name, the first of an input is the batch, others are tokens.
    """

    def written(size: tuple[int, int | None]) -> str:
        sizes = [
            (name, [d if isinstance(d, int) else size[0] if i == 0 else size[1] for i, d in enumerate(dimensions)])
            for name, dimensions in inputs.items()
            if any(isinstance(d, str) for d in dimensions)
        ]
        return ",".join(f"{name}:{'x'.join(map(str, size))}" for name, size in sizes)

    each = {"min": (1, 1), "opt": shapes.usual, "max": shapes.most}
    return {f"trt_profile_{which}_shapes": written(size) for which, size in each.items()}


def _input_shapes(path: Path) -> dict[str, list[int | str]]:
    """Dimensions of every input of a graph; those that vary are names."""
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    return {item.name: [d.dim_param or d.dim_value for d in item.type.tensor_type.shape.dim] for item in graph.input}


def run(session: Any, inputs: "Mapping[str, torch.Tensor]", place: Place) -> "torch.Tensor":
    """The graph's output for these inputs: a new tensor on the session's device, without a way through the CPU.

    https://onnxruntime.ai/docs/performance/tune-performance/iobinding.html
    """
    import torch

    binding, held = session.io_binding(), []
    for name, value in inputs.items():
        tensor = value.detach().contiguous()
        held.append(tensor)  # until it has run: only the address is bound
        binding.bind_input(name, tensor.device.type, tensor.device.index or 0, _numpy(tensor.dtype), tensor.shape,
                           tensor.data_ptr())  # fmt: skip
    (output,) = session.get_outputs()
    dtype = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16}[output.type]
    shape = output_shape(output.shape, {item.name: item.shape for item in session.get_inputs()}, inputs)
    answer = torch.empty(shape, dtype=dtype, device=place.device)
    binding.bind_output(
        output.name, place.device_type, place.device_id, _numpy(answer.dtype), answer.shape, answer.data_ptr()
    )
    if place.device_type == "cuda":
        # onnxruntime computes in a stream of its own: what torch has queued to make the inputs must be done before
        torch.cuda.current_stream(answer.device).synchronize()
    session.run_with_iobinding(binding)
    binding.synchronize_outputs()
    return answer


@cache
def _numpy(dtype: "torch.dtype") -> Any:
    import numpy as np

    return np.dtype(str(dtype).removeprefix("torch.")).type


def output_shape(
    output: Sequence[int | str], inputs: Mapping[str, Sequence[int | str]], given: "Mapping[str, torch.Tensor]"
) -> tuple[int, ...]:
    """Shape of the output for given inputs: the graph calls dimensions that are equal by one name."""
    sizes: dict[int | str, int] = {}
    for name, tensor in given.items():
        sizes.update(zip(inputs[name], tensor.shape, strict=True))
    return tuple(d if isinstance(d, int) else sizes[d] for d in output)


def elsewhere(session: Any, place: Place) -> str:
    """Which nodes the wanted provider left to others, in words; empty where it took all of them.

    The session's options must have asked to record this.
    """
    wanted = PROVIDERS[place.runtime, place.device_type][0]
    nodes = [(part.ep_name, node.op_type) for part in session.get_provider_graph_assignment_info()
             for node in part.get_nodes()]  # fmt: skip
    said = []
    for provider in dict.fromkeys(name for name, _ in nodes if name != wanted):
        kinds = Counter(kind for name, kind in nodes if name == provider)
        listed = ", ".join(kind for kind, _ in kinds.most_common(4))
        said.append(f"{kinds.total()} of {len(nodes)} nodes stayed with {provider} ({listed})")
    return "; ".join(said)
