"""GGUF files for llama.cpp, each compared with its model before further use.

    model --in fp32--> file --> logits equal the model's within 1e-3 of their spread       architecture, order of rows
    model --integers-> file --> predictions diverge by at most 0.05 nats on average         weights, scales

llama.cpp rounds the inputs of products with quantized weights to 8 bits, so logits of the second file differ from those
of the same weights in floating point. The first file holds what the integers stand for, and is deleted.
"""

import copy
from dataclasses import replace

from compress.base.errors import InputError
from compress.base.files import scratch
from compress.data.tasks import task_of
from compress.model import gguf
from compress.model.bundle import Bundle
from compress.model.gguf.architectures import architecture_of
from compress.model.packing.expanding import expand
from compress.model.packing.integers import refuse as layers_of
from compress.model.runtimes.check import agreement_with_cache, compare_predictions, origin, refuse
from compress.model.runtimes.llama_cpp import LlamaCppModel
from compress.model.skeleton import unlike_plain


def checked_in_llama_cpp(bundle: Bundle) -> LlamaCppModel:
    """Return a language model under llama.cpp, verified to match the model.

    Raises InputError for a task without generation, layers, architectures and tokenizers that GGUF lacks, and for files
    that answer otherwise than the model.
    """
    model, place = bundle.model, f"llama.cpp: {type(bundle.model).__name__}{origin(bundle)}"
    if not task_of(bundle.task).continues:
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
        compare_predictions(bundle, found, place, len(layers))
    return found
