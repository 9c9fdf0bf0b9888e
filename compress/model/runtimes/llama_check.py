"""GGUF files for llama.cpp, each compared with its model before further use.

    model --in fp32--> file --> logits equal the model's within 1e-3 of their spread       architecture, order of rows
    model --integers-> file --> predictions diverge by at most 0.05 nats on average         weights, scales

llama.cpp rounds the inputs of products with quantized weights to 8 bits, so logits of the second file differ from those
of the same weights in floating point. The first file holds what the integers stand for, and is deleted.
"""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from compress.base.errors import InputError
from compress.base.files import scratch
from compress.data.tasks import task_of
from compress.model import gguf
from compress.model.bundle import Bundle
from compress.model.gguf.architectures import architecture_of
from compress.model.packing.expanding import expand
from compress.model.packing.grouped_layer import GroupedLinear
from compress.model.packing.integers import refuse as layers_of
from compress.model.runtimes.check import agreement_with_cache, answers, check_batches, origin, refuse
from compress.model.runtimes.llama_cpp import LlamaCppModel
from compress.model.skeleton import unlike_plain

MOST_NATS = 0.05
"""Largest mean KL divergence of llama.cpp's predictions from the artifact's. SmolLM2-135M with Q8_0 and Q4_0 weights
showed 0.003 nats over 512 tokens of WikiText-2, 0.17 at a single token; a wrong order of rows gives several nats."""


def checked_in_llama_cpp(bundle: Bundle) -> LlamaCppModel:
    """Return a language model under llama.cpp, verified to match the model.

    Raises InputError for a task without generation, layers, architectures and tokenizers that GGUF lacks, and for files
    that answer otherwise than the model.
    """
    model, place = bundle.model, f"llama.cpp: {type(bundle.model).__name__}{origin(bundle)}"
    if not task_of(bundle.task).generates:
        raise InputError(f"llama.cpp: runs causal language models; got a model of {bundle.task}; use runtime eager")
    architecture_of(model.config)
    layers = layers_of(model, bundle.layers, "gguf")
    dense = copy.deepcopy(model) if layers else model
    expand(dense, layers)
    if (name := unlike_plain(dense, bundle.task)) is not None:
        raise InputError(f"{place}: {name} is not what llama.cpp builds for this architecture; use runtime openvino")
    dtype = next(dense.parameters()).dtype
    work = scratch("gguf")
    gguf.write(dense, bundle.processor, {}, work)
    exact = LlamaCppModel(work / gguf.FILE, model.config, exact=True)
    refuse(agreement_with_cache(replace(bundle, model=dense), exact, place), dtype, place)
    del exact
    if layers:
        (work / gguf.FILE).unlink()
        gguf.write(model, bundle.processor, layers, work)
    found = LlamaCppModel(work / gguf.FILE, model.config, temporary=True)
    if layers:
        _compare_predictions(bundle, layers, found, place)
    return found


def _compare_predictions(bundle: Bundle, layers: Mapping[str, GroupedLinear], found: Any, place: str) -> None:
    """Raise InputError if predictions of the file with integers diverge from the model's."""
    batches = check_batches(bundle)
    divergences = []
    for batch, expected in zip(batches, answers(bundle.model, batches, torch.device("cpu")), strict=True):
        kept = batch["attention_mask"].bool()
        divergences.append(divergence(expected[kept], found(**batch).logits[kept]))
    mean = float(torch.cat(divergences).mean())
    if not mean <= MOST_NATS:
        raise InputError(
            f"{place}: the {len(layers)} quantized layers differ from the model's: predictions diverge by {mean:.3g} "
            f"nats on average; expected at most {MOST_NATS}; use runtime openvino"
        )


def divergence(expected: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Return the Kullback-Leibler divergence of every row of logits [rows, vocabulary], in nats."""
    ours, theirs = expected.float().log_softmax(-1), logits.float().log_softmax(-1)
    return (ours.exp() * (ours - theirs)).sum(-1)
