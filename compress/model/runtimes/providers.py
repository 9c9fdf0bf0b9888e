"""onnxruntime's execution providers: which ones a runtime needs on a device, and sessions that really use them.

    onnxruntime  cpu   CPU
    onnxruntime  cuda  CUDA, and the CPU for operators without CUDA kernels (shapes, mostly)
    tensorrt     cuda  TensorRT, then CUDA, then the CPU

onnxruntime only warns if a provider is missing or cannot be loaded, and computes on the CPU instead. So the installed
providers are checked before loading, and the session's providers after opening. Fallback is disabled.
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
from compress.base.device import CPU, Device, DeviceKind
from compress.model.runtimes import unsigned
from compress.model.runtimes.signature import onnx_signature

if TYPE_CHECKING:
    import torch

PROVIDERS: dict[tuple[str, DeviceKind], tuple[str, ...]] = {
    ("onnxruntime", "cpu"): ("CPUExecutionProvider",),
    ("onnxruntime", "cuda"): ("CUDAExecutionProvider", "CPUExecutionProvider"),
    ("tensorrt", "cuda"): ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
}
"""(runtime, kind of device) -> its providers, the one that should do the work first."""


@dataclass(frozen=True)
class Shapes:
    """Batch size and tokens (None for images) that a TensorRT engine supports; the minimum is 1 of each."""

    usual: tuple[int, int | None]
    """The shape that it is optimised for."""
    most: tuple[int, int | None]
    """The largest that it accepts."""


@dataclass(frozen=True)
class Place:
    """The runtime and device that execute a graph."""

    runtime: str = "onnxruntime"
    device: Device = CPU
    half: bool = False
    """The graph is in fp16."""
    shapes: Shapes | None = None
    """Needed by tensorrt only."""

    @property
    def device_id(self) -> int:
        """Number of the GPU, or torch's current one if the device names none; 0 for the CPU."""
        if self.device.indices or not self.device.on_gpu:
            return next(iter(self.device.indices), 0)
        import torch

        return torch.cuda.current_device()


def check(runtime: str, kind: DeviceKind) -> None:
    """Raise InputError if the installed onnxruntime lacks the provider that `runtime` needs on such a device."""
    import onnxruntime

    required, available = PROVIDERS[runtime, kind][0], onnxruntime.get_available_providers()
    if required not in available:
        raise InputError(
            f"{runtime} on {kind} needs {required}; the installed onnxruntime has {', '.join(available)} only; "
            f"{_advice(runtime)}"
        )


def _advice(runtime: str) -> str:
    more = " and TensorRT" if runtime == "tensorrt" else ""
    return f"install onnxruntime-gpu{more} instead of onnxruntime, or use eager or compile"


def open_session(path: Path, place: Place, options: Any) -> Any:
    """Return an InferenceSession of a graph under the required provider, and no other.

    Signed weights become unsigned on a CPU that would multiply them wrongly. Raises InputError if the provider is
    missing or cannot be loaded.
    """
    import onnxruntime

    check(place.runtime, place.device.kind)
    required = PROVIDERS[place.runtime, place.device.kind]
    providers = [(name, _options(name, path, place)) for name in required]
    with unsigned.readable(path) if not place.device.on_gpu else nullcontext(path) as file:
        session = onnxruntime.InferenceSession(str(file), options, providers=providers, enable_fallback=0)
    loaded = session.get_providers()
    if loaded[0] != required[0]:
        raise InputError(
            f"{required[0]} cannot be loaded: onnxruntime took {', '.join(loaded)} instead; CUDA, cuDNN"
            f"{', TensorRT' if place.runtime == 'tensorrt' else ''} or the driver is missing or of another version; "
            f"{_advice(place.runtime)}"
        )
    return session


def _options(provider: str, path: Path, place: Place) -> dict[str, str]:
    """Return options of one provider."""
    if provider == "CPUExecutionProvider":
        return {}
    device = {"device_id": str(place.device_id)}
    if provider == "CUDAExecutionProvider":
        return {**device, "use_tf32": "0"}  # fp32 without TF32, as under torch; onnxruntime's default is TF32
    if place.shapes is None:
        raise InputError("tensorrt builds its engine for the shapes of a workload; run the recipe on a workload")
    return {
        **device,
        "trt_fp16_enable": str(int(place.half)),
        "trt_engine_cache_enable": "0",  # a cached engine would be reused after a change of versions
        **shape_profile({item["name"]: item["shape"] for item in onnx_signature(path)["inputs"]}, place.shapes),
    }


def shape_profile(inputs: Mapping[str, Sequence[int | str]], shapes: Shapes) -> dict[str, str]:
    """Return TensorRT's range of shapes for all inputs of variable shape: `input_ids:1x1`, ... `input_ids:32x128`.

    `inputs`: name -> dimensions. A variable dimension is a name; an input's first one is the batch, others are tokens.
    """

    def written(size: tuple[int, int | None]) -> str:
        sizes = [
            (name, [d if isinstance(d, int) else size[0] if i == 0 else size[1] for i, d in enumerate(dimensions)])
            for name, dimensions in inputs.items()
            if any(isinstance(d, str) for d in dimensions)
        ]
        return ",".join(f"{name}:{'x'.join(map(str, size))}" for name, size in sizes)

    limits = {"min": (1, 1), "opt": shapes.usual, "max": shapes.most}
    return {f"trt_profile_{which}_shapes": written(size) for which, size in limits.items()}


def run(session: Any, inputs: "Mapping[str, torch.Tensor]", place: Place) -> "torch.Tensor":
    """Return the graph's output for these inputs: a new tensor on the session's device, without copies over the CPU.

    https://onnxruntime.ai/docs/performance/tune-performance/iobinding.html
    """
    import torch

    from compress.base.devices import torch_device

    binding, alive = session.io_binding(), []
    for name, value in inputs.items():
        tensor = value.detach().contiguous()
        alive.append(tensor)  # until the run ends: only the address is bound
        binding.bind_input(name, tensor.device.type, tensor.device.index or 0, _numpy(tensor.dtype), tensor.shape,
                           tensor.data_ptr())  # fmt: skip
    (output,) = session.get_outputs()
    dtype = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16}[output.type]
    shape = output_shape(output.shape, {item.name: item.shape for item in session.get_inputs()}, inputs)
    logits = torch.empty(shape, dtype=dtype, device=torch_device(place.device))
    binding.bind_output(
        output.name, place.device.kind, place.device_id, _numpy(logits.dtype), logits.shape, logits.data_ptr()
    )
    if place.device.on_gpu:
        # onnxruntime uses a stream of its own: torch's queued work on the inputs must be finished first
        torch.cuda.current_stream(logits.device).synchronize()
    session.run_with_iobinding(binding)
    binding.synchronize_outputs()
    return logits


@cache
def _numpy(dtype: "torch.dtype") -> Any:
    import numpy as np

    return np.dtype(str(dtype).removeprefix("torch.")).type


def output_shape(
    output: Sequence[int | str], inputs: Mapping[str, Sequence[int | str]], given: "Mapping[str, torch.Tensor]"
) -> tuple[int, ...]:
    """Return the output's shape for given inputs: in the graph, equal dimensions have the same name."""
    sizes: dict[int | str, int] = {}
    for name, tensor in given.items():
        sizes.update(zip(inputs[name], tensor.shape, strict=True))
    return tuple(d if isinstance(d, int) else sizes[d] for d in output)


def elsewhere(session: Any, place: Place) -> str:
    """Describe the nodes that the first provider left to others; empty if it took all of them.

    The session's options must enable recording of the assignment.
    """
    first = PROVIDERS[place.runtime, place.device.kind][0]
    nodes = [(part.ep_name, node.op_type) for part in session.get_provider_graph_assignment_info()
             for node in part.get_nodes()]  # fmt: skip
    sentences = []
    for provider in dict.fromkeys(name for name, _ in nodes if name != first):
        kinds = Counter(kind for name, kind in nodes if name == provider)
        listed = ", ".join(kind for kind, _ in kinds.most_common(4))
        sentences.append(f"{kinds.total()} of {len(nodes)} nodes stayed with {provider} ({listed})")
    return "; ".join(sentences)
