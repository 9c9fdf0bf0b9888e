"""Compare the weights' names and shapes with the empty model, by transformers' rules for renamed and tied tensors.

Meta tensors with the headers' shapes go through from_pretrained, so nothing is read or allocated.
"""

import contextlib
import copy
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from transformers.utils import logging

from compress.base.errors import as_input_error, some
from compress.data.checkpoints.weights import Stored, unwrapped

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
PARAMETER = (".weight", ".bias")
PREDICTING = "num_nextn_predict_layers"
"""Field with the number of layers after the last one. They predict further tokens and are not loaded."""
OLD = (("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias"))
"""Names in old checkpoints -> the names that transformers loads them under."""
ADAPTER = re.compile(
    r"(?:^|[._])(?:lora|ia3|vera|boft|oft|hada|lokr|adapters?|adapter_(?:down|up)|prefix_(?:tuning|encoder)|prompt_encoder|"
    r"prompt_embeddings|base_layer)(?:[._]|$)"
)
"""Parts of tensor names of adapters that are not merged into the model (peft, adapters)."""
FLOATING = ("F64", "F32", "F16", "BF16")


def problems(skeleton: Any, held: Stored, task: str) -> tuple[list[str], list[str]]:
    """Return the errors of filling an empty model with stored tensors, and the names of unused tensors."""
    if getattr(skeleton.config, "quantization_config", None) is not None:
        return [], []  # its tensors have a library's own layout
    if twice := _twice(held):
        return twice, []
    given = {
        unwrapped(name): torch.empty(tensor.shape, dtype=DTYPES.get(tensor.dtype, torch.float32), device="meta")
        for name, tensor in held.tensors.items()
    }
    shapes = {name: p.shape for name, p in skeleton.named_parameters()}
    apart = [(name, t.shape, shapes[name]) for name, t in given.items() if name in shapes and t.shape != shapes[name]]
    if apart:  # checked first: from_pretrained would fill position tables of the size in config.json
        return _mismatched(apart), []
    with as_input_error(lambda reason: f"cannot be compared with its config.json ({reason})"), _quiet():
        _, info = type(skeleton).from_pretrained(
            None, config=copy.deepcopy(skeleton.config), state_dict=given, device_map="meta", dtype=torch.float32,
            ignore_mismatched_sizes=True, output_loading_info=True,
        )  # fmt: skip
    unused = sorted(info["unexpected_keys"])
    errors = [*_mismatched(info["mismatched_keys"]), *_missing(info["missing_keys"], task, unused, held.wrapped)]
    errors += _beyond(unused, skeleton)
    whole = {unwrapped(n): t.dtype for n, t in held.tensors.items() if t.dtype not in FLOATING}
    odd = [name for name, p in skeleton.named_parameters() if name in whole and p.is_floating_point()]
    if odd:
        errors.append(
            f"{odd[0]} is stored as {whole[odd[0]]} ({len(odd)} in total), and config.json has no "
            "quantization_config for it; expected floating-point weights"
        )
    return errors, unused


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the table of keys that transformers prints: the errors here report the relevant keys."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _twice(held: Stored) -> list[str]:
    """Return an error if two stored tensors would be loaded as one parameter."""
    origin: dict[str, str] = {}
    for name in held.tensors:
        loaded = unwrapped(name)
        for old, new in OLD:
            loaded = loaded.replace(old, new)
        if loaded in origin:
            return [
                f"holds {origin[loaded]} and {name}, which are one parameter; expected one of them: remove the other"
            ]
        origin[loaded] = name
    return []


def _mismatched(keys: Iterable[tuple[str, Any, Any]]) -> list[str]:
    wrong = sorted((name, list(there), list(here)) for name, there, here in keys)
    if not wrong:
        return []
    name, there, here = wrong[0]
    return [
        f"{name} is {there} in the weights and {here} in config.json ({len(wrong)} in total); expected the "
        "config.json that was saved with the weights"
    ]


def _missing(keys: Iterable[str], task: str, unused: list[str], wrapped: str | None) -> list[str]:
    missing = sorted(keys)
    if not missing:
        return []
    others = f"; it holds {unused[0]} ({len(unused)} in total) instead" if unused else ""
    prefix = f"; names such as {wrapped} come from a wrapped model: save the model inside" if wrapped else ""
    return [
        f"has no weights for {some(missing, 4)}, which would be random; expected a model trained for {task}{others}"
        f"{prefix}"
    ]


def _places(name: str, lists: Mapping[str, int], body: str) -> Iterator[tuple[int, int]]:
    """Yield a tensor's index in each module list that holds it, with the list's length.

    `lists` maps module lists of the empty model to their lengths. `body` is a prefix that names may have or lack.
    """
    parts = name.split(".")
    for place, part in enumerate(parts):
        path = ".".join(parts[:place])
        length = next((lists[n] for n in (path, f"{body}{path}", path.removeprefix(body)) if n in lists), None)
        if part.isdecimal() and length is not None:
            yield int(part), length


def _beyond(unused: list[str], skeleton: Any) -> list[str]:
    """Return an error for tensors that belong to the model but would be dropped.

    These are an adapter that is not merged, layers beyond config.json's count, and parameters inside existing layers,
    which this version of the architecture does not compute.
    """
    if parts := [name for name in unused if ADAPTER.search(name)]:
        return [
            f"holds an adapter that is not merged: {parts[0]} ({len(parts)} in total); merge it (peft: "
            "merge_and_unload) and save the model again"
        ]
    patterns = {re.sub(r"\.\d+\.", ".#.", name) for name in skeleton.state_dict()}
    lists = {name: len(module) for name, module in skeleton.named_modules() if isinstance(module, nn.ModuleList)}
    body, config = f"{skeleton.base_model_prefix}.", skeleton.config
    depth, predicting = getattr(config, "num_hidden_layers", None), getattr(config, PREDICTING, None) or 0
    deeper, inside = [], []
    for name in unused:
        places = [*_places(name, lists, body)]
        if short := next(((index, length) for index, length in places if index >= length), None):
            index, length = short
            is_beyond = length != depth or index >= length + predicting
        else:
            is_beyond = re.sub(r"\.\d+\.", ".#.", name) in patterns
            inside += [name] if places and not is_beyond and name.endswith(PARAMETER) else []
        deeper += [name] if is_beyond else []
    if inside:
        return [
            f"its weights hold {inside[0]} ({len(inside)} in total), which {type(skeleton).__name__} with this "
            "config.json does not compute; expected the config.json and the version of transformers that the model was "
            "saved with"
        ]
    if not deeper:
        return []
    return [
        f"its weights hold {deeper[0]} ({len(deeper)} in total), a layer beyond config.json's count; expected the "
        "config.json that was saved with the weights"
    ]
