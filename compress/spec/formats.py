"""Table of number formats, backends and runtimes per device, and the choice that `auto` makes.

A format is the number type of weights and activations. A backend is the library that quantizes, a runtime executes the
model. One row per possible combination, best first: `auto` takes the first row that fits. `kernels` is an expectation;
a result reports the operators of a profiled batch instead.
"""

from dataclasses import dataclass
from typing import Literal

from compress.base.config import InputError
from compress.base.device import DeviceKind

Format = Literal[
    "int8", "int8_static", "int8_weight", "llm_int8", "fp8", "nf4", "fp4", "int4", "int3", "int2", "ternary", "binary"
]
Backend = Literal["onnxruntime", "openvino", "torchao", "bitsandbytes", "quanto", "torch"]
Runtime = Literal["eager", "compile", "onnxruntime", "tensorrt", "openvino", "llama.cpp", "onnxruntime-genai"]

BITS: dict[str, int] = {
    "int8": 8, "int8_static": 8, "int8_weight": 8, "llm_int8": 8, "fp8": 8, "nf4": 4, "fp4": 4, "int4": 4, "int3": 3,
    "int2": 2, "ternary": 2, "binary": 1,
}  # fmt: skip
BATCH_DEPENDENT = frozenset({("int8", "onnxruntime"), ("llm_int8", "bitsandbytes")})
"""Formats and backends whose predictions can depend on the batch: they choose the scale of activations, or the outlier
columns, over the whole batch. torchao's int8 and fp8 have one scale per token."""


Capability = tuple[int, int]
KERNELS_FROM: dict[tuple[Format, Backend], Capability] = {
    ("int8", "torchao"): (7, 5),  # torch._int_mm: Turing
    ("int4", "torchao"): (8, 0),  # torch._weight_int4pack_mm: Ampere
    ("fp8", "torchao"): (8, 9),  # torch._scaled_mm: Ada
}
FP8_IN_BF16 = "fp8 on a GPU is computed in bf16 models only; put the step {method: cast, dtype: bf16} before it"
NO_FOUR_BITS = (
    "OpenVINO 2026.4 crashes when a cache of 4 bits is set back to its prompt, as decoding needs; use kv_cache int8, "
    "or runtime eager"
)
"""Why a cache of 4 bits is not offered under OpenVINO."""
CALIBRATED = "int8 products, activation scales calibrated"
DEVICES: tuple[DeviceKind, ...] = ("cuda", "cpu")
GROUPED: tuple[Format, ...] = ("int8_weight", "int4", "int3", "int2", "ternary", "binary")
"""Formats of the package's own backend, torch: any rounding and scaling, no kernel."""


@dataclass(frozen=True)
class Row:
    """One supported combination."""

    format: Format
    device: DeviceKind
    backend: Backend
    runtime: Runtime
    kernels: Literal["real", "dequantized"]
    why: str
    with_cache: bool = False
    """Only for language models, whose graphs keep a cache; their first choice."""
    convolutions: bool = False
    """Whether convolutions get the format too, not linear layers alone."""

    @property
    def capability(self) -> "Capability":
        """The lowest CUDA compute capability with these kernels."""
        return KERNELS_FROM.get((self.format, self.backend), (0, 0)) if self.device == "cuda" else (0, 0)


IN_OPENVINO = "inputs rounded to 8 bits if the CPU has VNNI, else weights become bf16 or fp32 inside the product"
ROWS: tuple[Row, ...] = (
    Row("int8", "cpu", "onnxruntime", "onnxruntime", "real", "int8 products on CPU, fastest with VNNI or AMX"),
    Row("int8", "cpu", "torchao", "compile", "real", "int8 products through torch._int_mm, fused by compile"),
    Row("int8", "cpu", "torchao", "eager", "real", "int8 products, quantization steps not fused"),
    *(
        Row("int8_static", "cpu", runtime, runtime, "real", CALIBRATED, convolutions=True)
        for runtime in ("openvino", "onnxruntime")
    ),
    Row("int8", "cuda", "torchao", "compile", "real", "int8 tensor cores, rounding fused by compile"),
    Row("int8", "cuda", "torchao", "eager", "real", "int8 tensor cores, but every product copies its weight: slow"),
    Row("fp8", "cuda", "torchao", "compile", "real", "fp8 (e4m3) tensor cores (Ada, Hopper, newer), one scale per row"),
    Row("fp8", "cuda", "torchao", "eager", "real", "fp8 (e4m3) tensor cores (Ada, Hopper, newer), one scale per row"),
    Row("llm_int8", "cuda", "bitsandbytes", "eager", "real", "int8 tensor cores, outlier columns in half precision"),
    Row("llm_int8", "cpu", "bitsandbytes", "eager", "real", "int8 products in bitsandbytes' CPU code"),
    Row("int4", "cuda", "torchao", "compile", "real", "int4 weight-only kernel, inputs padded to 1024s"),
    Row("int4", "cuda", "torchao", "eager", "real", "int4 weight-only kernel, inputs padded to 1024s"),
    *(
        Row(form, "cpu", "torch", runtime, "real", "int8 products, inputs rounded in blocks", True)
        for runtime in ("llama.cpp", "onnxruntime-genai")
        for form in ("int8_weight", "int4")
    ),
    Row("fp8", "cpu", "torchao", "eager", "dequantized", "weights become floating point before every product"),
    Row("nf4", "cuda", "bitsandbytes", "eager", "dequantized", "weights become half precision before most products"),
    Row("fp4", "cuda", "bitsandbytes", "eager", "dequantized", "weights become half precision before most products"),
    Row("int4", "cuda", "quanto", "eager", "dequantized", "weights become floating point before every product"),
    Row("nf4", "cpu", "bitsandbytes", "eager", "dequantized", "weights become floating point inside the product"),
    Row("fp4", "cpu", "bitsandbytes", "eager", "dequantized", "weights become floating point inside the product"),
    Row("int4", "cpu", "quanto", "eager", "dequantized", "weights become floating point before every product"),
    *(
        Row(form, device, "torch", "eager", "dequantized", "weights become floating point before every product")
        for device in DEVICES
        for form in GROUPED
    ),
    *(Row(form, "cpu", "torch", "openvino", "dequantized", IN_OPENVINO, True) for form in GROUPED),
    Row("int8_weight", "cpu", "openvino", "openvino", "dequantized", IN_OPENVINO, convolutions=True),
    Row("int4", "cpu", "openvino", "openvino", "dequantized", IN_OPENVINO),
)

STATIC: Format = "int8_static"
"""Activations of a graph with a cache are not calibrated."""
GRAPHS: dict[str, tuple[Runtime, ...]] = {
    "onnx": ("onnxruntime", "tensorrt"),
    "openvino": ("openvino",),
    "gguf": ("llama.cpp",),
    "genai": ("onnxruntime-genai",),
}
"""Kind of an exported graph -> runtimes that can execute it; `auto` is the first."""
GRAPH_RUNTIMES = frozenset(runtime for those in GRAPHS.values() for runtime in those)

OPTIONAL: dict[str, tuple[str, tuple[str, ...]]] = {
    "llama.cpp": ("llama-cpp", ("xllamacpp", "gguf")),
    "onnxruntime-genai": ("onnxruntime-genai", ("onnxruntime_genai",)),
}
"""Runtime that is an extra -> the extra, and its packages. They execute causal language models only."""
LIBRARIES: dict[str, str] = {"llama.cpp": "xllamacpp", "onnxruntime-genai": "onnxruntime_genai"}
"""Runtime -> the package that it imports, if that has another name."""
MOST_PROMPTS: dict[str, int] = {"llama.cpp": 256}
MOST_TEXTS: dict[str, int] = {**MOST_PROMPTS, "onnxruntime-genai": 1}
"""Runtime -> the prompts that it reads at once, and the texts to which it appends tokens at once."""
CACHELESS = GRAPH_RUNTIMES - {"openvino", *OPTIONAL}
"""Runtimes whose graphs of language models keep no cache: they have neither prefill nor decode figures."""

PLAIN_RUNTIMES: dict[DeviceKind, tuple[Runtime, ...]] = {
    "cpu": ("eager", "compile", "onnxruntime", "openvino", "llama.cpp", "onnxruntime-genai"),
    "cuda": ("eager", "compile", "onnxruntime", "tensorrt"),
}
"""Runtimes of a model that is not quantized; `auto` is eager, so that a row shows the effect of its steps alone."""


def choose(
    *,
    bits: int,
    format: str,
    backend: str,
    runtime: str,
    device: DeviceKind,
    capability: Capability | None = None,
    with_cache: bool = False,
) -> Row:
    """Return the first row that matches the recipe; `auto` matches everything.

    `capability` is the GPU's CUDA compute capability; None is not checked. `with_cache`: the model generates tokens;
    rows whose graphs keep a cache come first then. Raises InputError with the possible combinations if no row matches.
    """
    rows = [row for row in ROWS if BITS[row.format] == bits and row.device == device and row.with_cache <= with_cache]
    rows = [row for row in rows if row.runtime == runtime or row.runtime not in OPTIONAL]  # auto takes no extra
    if with_cache:
        rows = sorted((row for row in rows if row.format != STATIC), key=lambda row: not row.with_cache)
    fits = [row for row in rows if capability is None or row.capability <= capability]
    constraints = {"format": format, "backend": backend, "runtime": runtime}
    chosen = [r for r in fits if all(value in ("auto", getattr(r, key)) for key, value in constraints.items())]
    if chosen:
        return chosen[0]
    request = ", ".join(f"{key} {value}" for key, value in constraints.items() if value != "auto")
    combinations = "; ".join(f"{r.format} through {r.backend} under {r.runtime}" for r in fits)
    place = device if len(fits) == len(rows) else f"a GPU of compute capability {'.'.join(map(str, capability or ()))}"
    raise InputError(f"quantize bits {bits} ({request}) does not exist on {place}; expected one of: {combinations}")
