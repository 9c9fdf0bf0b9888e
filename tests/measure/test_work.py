"""The work of a batch by formulas written out here: bytes of weights that a token reads, operations of a batch."""

import dataclasses
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from compress.data.point import OperatingPoint
from compress.energy.peaks import Peaks, Read
from compress.measure.decode import Decoding
from compress.measure.limits import limit
from compress.measure.work import widths, work
from compress.methods import apply_step
from compress.model import runtimes
from compress.model.caching import caching
from compress.model.layers import LowRankLinear
from compress.records.limit import MEMORY, Limit
from compress.spec.steps import Quantize
from tests.made_models import bert, bundle, gpt2, llama, random_model, vit

BATCH, CONTEXT, NEW = 2, 8, 5
PROMPT = torch.randint(4, 28, (BATCH, CONTEXT), generator=torch.Generator().manual_seed(3))
PEAKS = Peaks(1, (Read(2**20, 1e9),), 1e9, {"float32": 1e9, "bfloat16": 1e9, "int8": 2e9}, {})
DECODE = OperatingPoint(phase="decode", batch_size=BATCH, sequence_length=CONTEXT, new_tokens=NEW)
PREFILL = OperatingPoint(phase="prefill", batch_size=BATCH, sequence_length=CONTEXT)
REQUEST = OperatingPoint(phase="generate", batch_size=BATCH, sequence_length=CONTEXT, new_tokens=NEW)
TEXTS = OperatingPoint(batch_size=BATCH, sequence_length=CONTEXT)


def llama_layer(c: Any) -> int:
    """Weights of the linear layers of one block."""
    keys = c.num_key_value_heads * c.head_dim
    return 2 * c.hidden_size * c.hidden_size + 2 * c.hidden_size * keys + 3 * c.hidden_size * c.intermediate_size


def prompt_operations(c: Any) -> int:
    """Linear layers for all tokens, the head for the last one, attention's two products."""
    tokens = BATCH * CONTEXT
    attention = 2 * 2 * BATCH * c.num_attention_heads * CONTEXT * CONTEXT * c.head_dim
    head = 2 * c.hidden_size * c.vocab_size * BATCH
    return c.num_hidden_layers * (2 * llama_layer(c) * tokens + attention) + head


def cache_read(c: Any, element: int = 4, steps: int = NEW) -> float:
    """Keys and values of all texts in the mean step of a pass: 8 tokens and 1, 2 .. 5 new ones."""
    token = 2 * c.num_hidden_layers * c.num_key_value_heads * c.head_dim * element
    return BATCH * token * sum(CONTEXT + i for i in range(1, steps + 1)) / steps


def known(model: Any, point: OperatingPoint, integer: bool = False, **batch: torch.Tensor) -> dict[str, float]:
    found = limit(model, point, batch or {"input_ids": PROMPT}, PEAKS, integer)
    assert found is not None and found.reason is None, found
    return found.work


def stored(c: Any) -> int:
    """Numbers of a tied Llama that a token reads: every weight; the angles of its positions too."""
    norms = (2 * c.num_hidden_layers + 1) * c.hidden_size
    return c.num_hidden_layers * llama_layer(c) + norms + c.vocab_size * c.hidden_size + c.head_dim // 2


def test_a_token_of_a_tied_llama_reads_all_weights_once_and_the_cache_of_all_texts() -> None:
    model = llama()
    assert model.config.tie_word_embeddings
    assert known(model, DECODE)[MEMORY] == 4 * stored(model.config) + cache_read(model.config)
    assert known(model.to(torch.bfloat16), DECODE)[MEMORY] == pytest.approx(
        2 * stored(model.config) + cache_read(model.config, 2), abs=2 * model.config.head_dim
    )  # the angles stay in fp32


def test_an_untied_head_is_read_whole_and_of_the_embeddings_one_row_for_each_text() -> None:
    sizes = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "intermediate_size": 64, "tie_word_embeddings": False}  # fmt: skip
    model = random_model(transformers.LlamaForCausalLM, transformers.LlamaConfig(**sizes))
    c = model.config
    rows = BATCH * c.hidden_size
    tokens = PROMPT.clone()
    assert known(model, DECODE, input_ids=tokens)[MEMORY] == 4 * (stored(c) + rows) + cache_read(c)


def test_a_prompt_computes_its_linear_layers_its_attention_and_one_row_of_logits_per_text() -> None:
    model = llama()
    assert known(model, PREFILL) == {"float32": prompt_operations(model.config)}


def test_a_request_computes_its_prompt_and_reads_the_weights_for_every_further_token() -> None:
    model = llama()
    expected = (NEW - 1) * (4 * stored(model.config) + cache_read(model.config, steps=NEW - 1))
    assert known(model, REQUEST) == {"float32": prompt_operations(model.config), MEMORY: expected}


def test_requests_that_stop_read_for_the_tokens_of_their_longest_text_alone() -> None:
    model = llama()
    c = model.config
    stopping = REQUEST.model_copy(update={"stop": True})
    lengths = (2, 4, 1, 1)  # two requests of two texts: three steps, and none
    found = limit(model, stopping, {"input_ids": PROMPT}, PEAKS, False, lengths)
    assert found is not None
    assert found.work[MEMORY] == 3 * (4 * stored(c) + cache_read(c, steps=3)) / 2
    without = limit(model, stopping, {"input_ids": PROMPT}, PEAKS, False, (1, 1, 1, 1))
    assert without is not None and without.work == {"float32": prompt_operations(c)}


def test_caches_count_the_bytes_that_they_allocate_in_each_step() -> None:
    model = llama()
    c = model.config
    element = 2 * c.num_hidden_layers * c.num_key_value_heads * c.head_dim * BATCH
    point = OperatingPoint(phase="decode", batch_size=BATCH, sequence_length=60, new_tokens=8)
    batch = {"input_ids": torch.randint(4, 28, (BATCH, 60))}
    static = known(runtimes.prepare(model, "eager", kv_cache="static"), point, **batch)[MEMORY]
    assert static - known(model, point, **batch)[MEMORY] == pytest.approx(4 * element * (68 - (60 + 4.5)))
    whole = known(model, DECODE)[MEMORY] - cache_read(c)
    rounded = known(runtimes.prepare(llama(), "eager", kv_cache="int8"), point, **batch)[MEMORY] - whole
    # from the 64th token on, 32 are rounded; scales and minima of keys are for 32 tokens, those of values for a head
    scales = 4 * element / 2 * (1 + 32 / c.head_dim)
    kept = [n - 32 * (n >= 64) for n in range(61, 69)]
    expected = (sum(4 * element * n for n in kept) + 5 * (32 * element + scales)) / 8
    assert rounded == pytest.approx(expected, rel=1e-9)


def test_openvino_reads_scales_as_they_are_stored() -> None:
    language = dataclasses.replace(bundle(llama()), task="causal-lm", train=None)
    packed = runtimes.finish(apply_step(language, Quantize(bits=8, group_size=32, symmetric=True)), "openvino").model
    c = llama().config
    numbers = c.num_hidden_layers * llama_layer(c)
    element = 2 if packed.bf16 else 4
    rest = element * (stored(c) - numbers - c.head_dim // 2)
    read = known(packed, DECODE)[MEMORY] - cache_read(c, element) - rest
    assert numbers * (1 + 4 / 32) <= read < numbers * (1 + 4 / 32) + 4 * 64 * c.num_hidden_layers  # integers, scales


def test_gpt2_whose_layers_are_transposed_is_counted_alike() -> None:
    model = gpt2()
    c, tokens = model.config, BATCH * CONTEXT
    inner = c.n_inner or 4 * c.n_embd
    layer = 2 * tokens * (4 * c.n_embd * c.n_embd + 2 * c.n_embd * inner) + 4 * BATCH * CONTEXT**2 * c.n_embd
    assert known(model, PREFILL) == {"float32": c.n_layer * layer + 2 * BATCH * c.n_embd * c.vocab_size}


def bert_operations(c: Any) -> int:
    tokens, width = BATCH * CONTEXT, c.hidden_size
    layer = 2 * tokens * (4 * width * width + 2 * width * c.intermediate_size) + 4 * BATCH * CONTEXT**2 * width
    return c.num_hidden_layers * layer + 2 * BATCH * (width * width + width * c.num_labels)  # pooler, classifier


@pytest.mark.parametrize("runtime", ["eager", "onnxruntime", "openvino"])
def test_a_classifier_computes_the_same_operations_under_every_runtime(runtime: str) -> None:
    model = runtimes.finish(bundle(bert()), runtime).model
    mask = torch.ones_like(PROMPT)
    found = known(model, TEXTS, input_ids=PROMPT, attention_mask=mask)
    assert sum(found.values()) == bert_operations(bert().config) and len(found) == 1


def test_integer_products_count_as_such_and_the_others_as_floating_point() -> None:
    model = runtimes.finish(apply_step(bundle(bert()), Quantize(bits=8)), "onnxruntime").model
    found = known(model, TEXTS, True, input_ids=PROMPT, attention_mask=torch.ones_like(PROMPT))
    c, tokens = bert().config, BATCH * CONTEXT
    layers = c.num_hidden_layers * 2 * tokens * (4 * c.hidden_size**2 + 2 * c.hidden_size * c.intermediate_size)
    assert found["int8"] == layers
    assert sum(found.values()) == bert_operations(c)


def test_a_vit_computes_its_patches_as_a_convolution() -> None:
    model = vit()
    c = model.config
    patches, width = (c.image_size // c.patch_size) ** 2, c.hidden_size
    tokens = BATCH * (patches + 1)
    layer = 2 * tokens * (4 * width**2 + 2 * width * c.intermediate_size) + 4 * BATCH * (patches + 1) ** 2 * width
    embedding = 2 * BATCH * patches * width * c.num_channels * c.patch_size**2
    expected = c.num_hidden_layers * layer + embedding + 2 * BATCH * width * c.num_labels
    pixels = torch.randn(BATCH, c.num_channels, c.image_size, c.image_size)
    assert known(model, OperatingPoint(batch_size=BATCH), pixel_values=pixels) == {"float32": expected}


@pytest.mark.parametrize("bits", [8, 4])
def test_a_graph_with_a_cache_reads_its_integers_and_computes_a_prompt_as_the_model_does(bits: int) -> None:
    language = dataclasses.replace(bundle(llama()), task="causal-lm", train=None)
    dense = runtimes.finish(language, "openvino").model
    step = Quantize(bits=bits, group_size=32)
    packed = runtimes.finish(apply_step(language, step), "openvino").model
    c = llama().config
    assert sum(known(dense, PREFILL).values()) == sum(known(packed, PREFILL).values()) == prompt_operations(c)
    numbers = c.num_hidden_layers * llama_layer(c)
    element = 2 if dense.bf16 else 4
    saved = known(dense, DECODE)[MEMORY] - known(packed, DECODE)[MEMORY]
    scales = numbers / 32  # one scale and at most one zero point for each group
    assert numbers * (element - bits / 8) - 6 * scales <= saved < numbers * (element - bits / 8)


def test_low_rank_layers_count_their_own_two_products() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = LowRankLinear(32, 16, rank=3)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.layer(inputs)

    model = Model().eval()
    assert widths(model.layer) is None and widths(model.layer.first) == (32, 3)
    found = work(model, lambda: model(torch.ones(5, 32)))
    assert found.operations == {"float32": 2 * 5 * 3 * (32 + 16)}
    assert found.read_bytes == 4 * (3 * 32 + 16 * 3 + 16)


def test_of_experts_only_those_are_read_that_the_tokens_chose() -> None:
    sizes = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4,
             "num_key_value_heads": 2, "intermediate_size": 64,
             "num_local_experts": 8, "num_experts_per_tok": 2}  # fmt: skip
    model = random_model(transformers.MixtralForCausalLM, transformers.MixtralConfig(**sizes))
    experts = sum(p.numel() for name, p in model.named_parameters() if ".experts." in name) * 4
    everything = sum(p.numel() for p in model.parameters()) * 4
    read = work(model, Decoding(caching(model), NEW, PROMPT[:1])).read_bytes
    embeddings = 0 if model.config.tie_word_embeddings else 63 * 32 * 4
    assert read == pytest.approx(everything - embeddings - experts * 6 / 8, abs=64)


def test_an_unknown_product_or_peak_gives_a_reason_instead_of_a_figure() -> None:
    class Model(nn.Module):
        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            return torch._weight_int8pack_mm(torch.ones(2, 32), torch.ones(16, 32, dtype=torch.int8), torch.ones(16))

    found = limit(Model(), TEXTS, {"input_ids": PROMPT}, PEAKS, False)
    assert found == Limit(reason="the operations of _weight_int8pack_mm are not counted")
    no_half = dataclasses.replace(PEAKS, products={"int8": 1e9})
    assert limit(llama(), PREFILL, {"input_ids": PROMPT}, no_half, False) == Limit(
        reason="the device's peak in float32 is not measured"
    )
    assert limit(llama(), OperatingPoint(batch_size=2, natural="sorted"), {}, PEAKS, False) is None
