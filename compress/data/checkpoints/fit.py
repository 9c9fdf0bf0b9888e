"""The weights' names and shapes against the empty model, by transformers' own rules for renamed and tied tensors.

Tensors of the headers' shapes on the meta device go through from_pretrained: nothing is read, nothing allocated.
"""

import contextlib
import copy
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from transformers.utils import logging

from compress.base.errors import blamed
from compress.data.checkpoints.weights import Stored, unwrapped

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
PREDICTING = "num_nextn_predict_layers"
"""Field that counts layers after the last one, which predict further tokens and are not loaded."""
FLOATING = ("F64", "F32", "F16", "BF16")


def problems(skeleton: Any, held: Stored, task: str) -> tuple[list[str], list[str]]:
    """Return why stored tensors do not fill an empty model, and which are left out: sentences, and names."""
    if getattr(skeleton.config, "quantization_config", None) is not None:
        return [], []  # its tensors are a library's own
    given = {
        unwrapped(name): torch.empty(tensor.shape, dtype=DTYPES.get(tensor.dtype, torch.float32), device="meta")
        for name, tensor in held.tensors.items()
    }
    shapes = {name: p.shape for name, p in skeleton.named_parameters()}
    apart = [(name, t.shape, shapes[name]) for name, t in given.items() if name in shapes and t.shape != shapes[name]]
    if apart:  # before the library, which fills tables of positions as long as config.json says
        return _mismatched(apart), []
    with blamed(lambda reason: f"cannot be compared with its config.json ({reason})"), _unreported():
        _, info = type(skeleton).from_pretrained(
            None, config=copy.deepcopy(skeleton.config), state_dict=given, device_map="meta", dtype=torch.float32,
            ignore_mismatched_sizes=True, output_loading_info=True,
        )  # fmt: skip
    unused = sorted(info["unexpected_keys"])
    found = [*_mismatched(info["mismatched_keys"]), *_missing(info["missing_keys"], task, unused, held.wrapped)]
    found += _beyond(unused, skeleton)
    whole = {unwrapped(n): t.dtype for n, t in held.tensors.items() if t.dtype not in FLOATING}
    odd = [name for name, p in skeleton.named_parameters() if name in whole and p.is_floating_point()]
    if odd:
        found.append(
            f"{odd[0]} is stored as {whole[odd[0]]} ({len(odd)} such), and config.json has no quantization_config that "
            "says how to read it; expected floating-point weights"
        )
    return found, unused


@contextlib.contextmanager
def _unreported() -> Iterator[None]:
    """Silence the table of keys that transformers prints: our errors report the keys that matter."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _mismatched(keys: Iterable[tuple[str, Any, Any]]) -> list[str]:
    wrong = sorted((name, list(there), list(here)) for name, there, here in keys)
    if not wrong:
        return []
    name, there, here = wrong[0]
    return [
        f"{name} is {there} in its weights, and {here} by config.json ({len(wrong)} such); expected the "
        "config.json that was saved with the weights"
    ]


def _missing(keys: Iterable[str], task: str, unused: list[str], wrapped: str | None) -> list[str]:
    lacking = sorted(keys)
    if not lacking:
        return []
    more = " ..." if len(lacking) > 4 else ""
    others = f"; it holds {unused[0]} ({len(unused)} such) instead" if unused else ""
    prefix = f"; names such as {wrapped} are those of a wrapped model: save the inner one" if wrapped else ""
    return [
        f"has no weights for {', '.join(lacking[:4])}{more}, which would be random; expected a model trained for "
        f"{task}{others}{prefix}"
    ]


def _short_list(name: str, lists: Mapping[str, int], body: str) -> tuple[int, int] | None:
    """Return a tensor's index in the first list that has no such place, and the list's length; else None.

    `lists` are the lists of the empty model, `body` is the prefix that names may have or lack.
    """
    parts = name.split(".")
    for place, part in enumerate(parts):
        path = ".".join(parts[:place])
        length = next((lists[n] for n in (path, f"{body}{path}", path.removeprefix(body)) if n in lists), None)
        if part.isdecimal() and length is not None and int(part) >= length:
            return int(part), length
    return None


def _beyond(unused: list[str], skeleton: Any) -> list[str]:
    """Return a sentence about tensors of layers that config.json does not count, and of adapters not merged."""
    if lora := [name for name in unused if ".lora_" in name or ".base_layer." in name]:
        return [
            f"holds an adapter that is not merged: {lora[0]} ({len(lora)} such); merge it (peft: merge_and_unload) and "
            "save the model again"
        ]
    known = {re.sub(r"\.\d+\.", ".#.", name) for name in skeleton.state_dict()}
    lists = {name: len(module) for name, module in skeleton.named_modules() if isinstance(module, nn.ModuleList)}
    body, config = f"{skeleton.base_model_prefix}.", skeleton.config
    depth, predicting = getattr(config, "num_hidden_layers", None), getattr(config, PREDICTING, None) or 0
    deeper = []
    for name in unused:
        if (place := _short_list(name, lists, body)) is None:
            is_beyond = re.sub(r"\.\d+\.", ".#.", name) in known
        else:
            index, length = place
            is_beyond = length != depth or index >= length + predicting
        deeper += [name] if is_beyond else []
    if not deeper:
        return []
    return [
        f"its weights hold {deeper[0]} ({len(deeper)} such), a layer that config.json does not count; expected the "
        "config.json that was saved with the weights"
    ]
