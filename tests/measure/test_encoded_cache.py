"""The cache of an encoder-decoder: its tokens are those of transformers' own greedy search, its bytes are counted."""

from typing import Any

import pytest
import torch

from compress.data.point import OperatingPoint
from compress.measure.decode import Decoding, called
from compress.model.caching import EncodedCache, caching, keeps_cache
from tests.translated import FAMILIES, encoder_decoder


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Any:
    return encoder_decoder(request.param)


def sources(texts: int = 3, length: int = 9) -> torch.Tensor:
    return torch.randint(4, 60, (texts, length), generator=torch.Generator().manual_seed(5))


def greedy(model: Any, ids: torch.Tensor, count: int) -> torch.Tensor:
    """Tokens [batch, count] by whole passes over source and target, without a cache."""
    target = torch.full((len(ids), 1), model.config.decoder_start_token_id)
    with torch.no_grad():
        for _ in range(count):
            logits = model(input_ids=ids, decoder_input_ids=target, use_cache=False).logits
            target = torch.cat([target, logits[:, -1:].argmax(dim=-1)], dim=1)
    return target[:, 1:]


def test_tokens_are_those_of_whole_passes(model: Any) -> None:
    ids = sources()
    assert keeps_cache(model) and isinstance(caching(model), EncodedCache)
    point = OperatingPoint(batch_size=3, sequence_length=9, phase="generate", new_tokens=6)
    with torch.no_grad():
        found = called(model, point, {"input_ids": ids})(input_ids=ids)
    assert torch.equal(found, greedy(model, ids, 6))


def test_every_pass_of_a_decode_window_gives_the_same_tokens(model: Any) -> None:
    ids = sources()
    decoding = Decoding(caching(model), 4, ids)
    with torch.no_grad():
        tokens = [decoding() for _ in range(12)]
    expected = greedy(model, ids, 5)[:, 1:]
    for start in (0, 4, 8):
        assert torch.equal(torch.cat(tokens[start : start + 4], dim=1), expected)


def test_prefill_is_the_first_token_of_every_source(model: Any) -> None:
    ids = sources()
    point = OperatingPoint(batch_size=3, sequence_length=9, phase="prefill")
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "decoder_input_ids": torch.zeros(3, 1)}
    with torch.no_grad():
        assert torch.equal(called(model, point, batch)(**batch), greedy(model, ids, 1))


def test_bytes_are_those_of_source_and_target(model: Any) -> None:
    ids = sources(texts=2, length=9)
    decoding = Decoding(caching(model), 4, ids)
    with torch.no_grad():
        for _ in range(2):
            decoding()
    # 2 layers, keys and values, 2 texts, 32 features, 4 bytes; the source's 9 tokens, the first one and 4 new ones
    assert decoding.cache_bytes == 2 * 2 * 2 * 32 * 4 * (9 + 5)
    assert decoding.bytes_after(1) == 2 * 2 * 2 * 32 * 4 * (9 + 2)
