"""Checks of config.json before a model is built from it: types and bounds of its numbers.

transformers builds as many modules as the numbers state: ten million layers take minutes and all memory.
"""

import re
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from compress.base.config import InputError
from compress.data.checkpoints.files import file_problem, read_json
from compress.data.checkpoints.folder import is_pointer
from compress.data.checkpoints.weights import Stored
from compress.records.fields import ENDLESS

WIDTHS = (
    "hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embedding_size", "intermediate_size", "hidden_dim", "d_ff",
    "vocab_size", "num_attention_heads", "num_heads", "n_head", "n_heads", "num_channels", "patch_size",
)  # fmt: skip
DEPTHS = (
    "num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers", "decoder_layers", "num_decoder_layers",
    "depths", "depth", "block_sizes", "num_hidden_groups",
)  # fmt: skip
POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len")  # -1, 0 and null: without a limit
MOST_LAYERS = 1000
MOST_WIDTH = 2**31 - 1
MOST_POSITIONS = 2**24  # Llama 4 has 10,485,760
MOST_LABELS = 10**5  # ImageNet-21k has 21,843
MOST_VALUES = 10**6  # 100,000 labels have 200,000
MOST = sys.float_info.max
ABOVE_ZERO = re.compile(r"(?:.*_)?(?:rope_theta|rotary_emb_base|rotary_pct|partial_rotary_factor)|factor")
"""Names of fields of rotary position embeddings that divide."""
EPSILON = re.compile(r"(?:.*_)?(?:eps|epsilon)")
"""Names of fields that are added to a variance before the square root."""
DTYPES = ("float32", "bfloat16", "float16", "float64", "float", "half", "double")
FLOAT = "__float__"
"""Key of transformers' mapping for a number that JSON cannot express."""
ROTATIONS = ("rope_parameters", "rope_scaling")
RANGES = ("time_step_limit",)
"""Fields of state-space models whose upper end is infinite by default."""
PARTS = ("text_config", "vision_config")


def read(path: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the mapping in a folder's config.json and no errors, or None and the errors of the file."""
    file = path / "config.json"
    if is_pointer(file):
        return None, []  # reported by the folder check
    try:
        if file_problem(file) is None and file.is_file() and not file.stat().st_size:
            return None, ["config.json is empty; save the model again, or download the file again"]
        config = read_json(file)
    except InputError as error:
        return None, list(error.problems)
    if not isinstance(config, dict):
        return None, [f"config.json: a {type(config).__name__}; expected a mapping of fields"]
    return config, []


def problems(config: Mapping[str, Any], held: Stored | None = None) -> list[str]:
    """Return the invalid settings of a configuration, one sentence each; `held` are its weights."""
    errors = [f"config.json {problem}" for problem in (*_not_finite(config), *_format(config))]
    for name, part in (("", config), *((name, config[name]) for name in PARTS if isinstance(config.get(name), dict))):
        place = f"config.json {name + '.' if name else ''}"
        sentences = (*_numbers(part, held), *_epsilons(part), *_rotations(part), *_dtype(part))
        errors += [place + problem for problem in sentences]
    return errors + [f"config.json {problem}" for problem in (*_labels(config), *_names(config))]


def _numbers(config: Mapping[str, Any], held: Stored | None) -> Iterator[str]:
    deepest = max(MOST_LAYERS, 0 if held is None else len(held.tensors))
    for names, least, most in ((WIDTHS, 1, MOST_WIDTH), (DEPTHS, 0, deepest), (POSITIONS, -1, MOST_POSITIONS)):
        for name in names:
            if (value := config.get(name)) is None:  # the architecture's default
                continue
            values = value if isinstance(value, list) else [value]
            wrong = [v for v in values if not isinstance(v, int) or isinstance(v, bool)]
            if wrong:
                yield f"{name}: {_short(wrong[0])}, a {type(wrong[0]).__name__}; expected a whole number"
            elif any(v < least for v in values):
                yield f"{name}: {_short(value)}; expected at least {least}"
            elif sum(values) > most:
                detail = f"; its weights hold {len(held.tensors)} tensors" if held is not None else ""
                yield f"{name}: {_short(value)}; expected at most {most}{detail}"


def _epsilons(config: Mapping[str, Any]) -> Iterator[str]:
    for name, value in config.items():
        if EPSILON.fullmatch(name) and isinstance(value, int | float) and value <= 0:
            yield f"{name}: {value!r}; expected a number above 0, such as 1e-12"


def _rotations(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each setting of rotary position embeddings that makes them infinite."""
    parts = [("", config), *((f"{name}.", config[name]) for name in ROTATIONS if isinstance(config.get(name), dict))]
    for place, part in parts:
        for name, value in part.items():
            if place and isinstance(value, dict):  # settings per type of layer
                parts.append((f"{place}{name}.", value))
            elif ABOVE_ZERO.fullmatch(str(name)) and isinstance(value, int | float) and value <= 0:
                yield f"{place}{name}: {value!r}; expected a number above 0"


def _dtype(config: Mapping[str, Any]) -> Iterator[str]:
    for name in ("dtype", "torch_dtype"):
        value = config.get(name)
        if value is not None and (not isinstance(value, str) or value not in DTYPES):
            yield f"{name}: {_short(value)}; expected a floating-point type, such as {DTYPES[0]} or {DTYPES[1]}"


def _not_finite(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each number that is not finite: JSON has none, but Python's json reads and writes them."""
    queue: deque[tuple[str, Any]] = deque([("", config)])
    count = 0
    while queue:
        place, node = queue.popleft()
        if (count := count + 1) > MOST_VALUES:
            yield f"holds over {MOST_VALUES} values; expected fewer"
            return
        if isinstance(node, int | float) and not -MOST <= node <= MOST:
            yield f"{place}: {_short(node)}; expected a finite number"
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in items:
            if key not in RANGES:
                number = ENDLESS.get(value, value) if key == FLOAT and isinstance(value, str) else value
                queue.append((f"{place}.{key}" if place else str(key), number))


def _format(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each quantization setting that names no format."""
    for name in ("quantization_config", "compression_config"):
        value = config.get(name)
        if value is not None and (not isinstance(value, dict) or not value):
            yield (
                f"{name}: {_short(value)}; expected a mapping that names a format; remove it if the "
                "weights are floating-point, or restore the one that was saved with the weights"
            )


def _labels(config: Mapping[str, Any]) -> Iterator[str]:
    count = config.get("num_labels")
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MOST_LABELS):
        yield f"num_labels: {_short(count)}; expected a whole number from 1 to {MOST_LABELS}"
    names = config.get("id2label")
    if names is None:
        return
    if not isinstance(names, dict):
        yield f"id2label: a {type(names).__name__}; expected a mapping of numbers to names"
        return
    if len(names) > MOST_LABELS:
        yield f"id2label: {len(names)} names; expected at most {MOST_LABELS}"
        return
    missing = sorted({str(index) for index in range(len(names))} - set(map(str, names)), key=int)
    if missing:
        yield (
            f"id2label: its {len(names)} names have the numbers {', '.join(map(str, list(names)[:6]))}; expected 0 to "
            f"{len(names) - 1}, and {missing[0]} is missing"
        )
    elif not all(isinstance(name, str | int | float) for name in names.values()):
        yield "id2label: a name that is neither text nor a number"


def _names(config: Mapping[str, Any]) -> Iterator[str]:
    classes = config.get("architectures")
    if classes is not None and (not isinstance(classes, list) or not all(isinstance(name, str) for name in classes)):
        yield f"architectures: {_short(classes)}; expected a list of class names"
    code = config.get("auto_map")
    if code is not None and not isinstance(code, dict):
        yield f"auto_map: {_short(code)}; expected a mapping of Auto classes to classes of the model's own code"
    kind = config.get("model_type")
    if not isinstance(kind, str) or not kind:
        yield f"model_type: {'missing' if kind is None else _short(kind)}; expected an architecture, such as bert"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
