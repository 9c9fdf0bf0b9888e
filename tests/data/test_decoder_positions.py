"""Encoder-decoders whose two halves differ in their positions: each half limits the tokens that it reads."""

from typing import Any

import datasets
import pytest
import torch
import transformers

from compress.data.dataset import Dataset
from compress.data.point import OperatingPoint
from compress.data.tasks import decoding, task_of
from compress.data.tasks.blocks import padded
from compress.data.workload import Workload
from tests.translated import pairs, tokenizer

TASK = task_of("translation")
SOURCES, TARGETS = 32, 12


def led() -> Any:
    torch.manual_seed(0)
    config = transformers.LEDConfig(
        vocab_size=len(tokenizer()), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, attention_window=4,
        max_encoder_position_embeddings=SOURCES, max_decoder_position_embeddings=TARGETS, pad_token_id=0,
        bos_token_id=3, eos_token_id=1, decoder_start_token_id=1,
    )  # fmt: skip
    return transformers.LEDForConditionalGeneration(config).eval()


def runs(model: Any, source: int, target: int) -> bool:
    """Whether a model takes so many tokens of a source and of a target."""
    try:
        with torch.no_grad():
            model(input_ids=torch.full((1, source), 5), decoder_input_ids=torch.full((1, target), 5))
    except IndexError:
        return False
    return True


def own(**changes: Any) -> Workload:
    spec = Dataset(path="d", text="en", target="de")
    fields = {"max_length": 32, "headline": {"batch_size": 1, "context": 16, "generate": 4}, **changes}
    return Workload(task="translation", model="m", dataset=spec, **fields)


def check(model: Any, workload: Workload) -> list[str]:
    decoding.configure(model.config, None, workload)
    examples = TASK.prepare(datasets.Dataset.from_list(pairs(3, 1)), tokenizer(), workload, model.config)
    return TASK.check(model, tokenizer(), examples, workload)


def test_sources_are_as_long_as_the_encoder_reads_and_targets_as_the_decoder_does() -> None:
    model = led()
    assert runs(model, SOURCES, TARGETS)
    assert not runs(model, SOURCES + 4, TARGETS) and not runs(model, SOURCES, TARGETS + 1)
    longest = own(max_length=SOURCES, headline={"batch_size": 1, "context": SOURCES, "generate": TARGETS})
    assert check(model, longest) == []
    assert f"reads at most {SOURCES} tokens, but max_length is 33; set max_length to {SOURCES}" in check(
        model, own(max_length=33)
    )
    long = check(led(), own(generation={"max_new_tokens": TARGETS + 1}))
    assert f"writes at most {TARGETS} tokens; generation.max_new_tokens is {TARGETS + 1}" in long
    (found,) = check(led(), own(headline={"batch_size": 1, "context": SOURCES, "generate": TARGETS + 1}))
    assert found == f"writes at most {TARGETS} tokens; the point of new_tokens {TARGETS + 1} has more"


def test_texts_are_generated_up_to_the_decoders_positions() -> None:
    model = led()
    decoding.configure(model.config, None, own())
    assert decoding.settings_of(model.config)["max_new_tokens"] == TARGETS
    half: Any = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 40,
    }  # fmt: skip
    config = transformers.T5GemmaConfig(
        encoder={**half, "max_position_embeddings": 64}, decoder={**half, "max_position_embeddings": 20}
    )
    assert decoding.decoder_positions(config) == 20


@pytest.mark.parametrize(("tokens", "refused"), [(SOURCES, False), (SOURCES + 1, True)])
def test_points_of_a_map_end_where_a_half_does(tokens: int, refused: bool) -> None:
    """The new tokens are the decoder's: they need no positions of the encoder."""
    point = OperatingPoint(batch_size=1, sequence_length=tokens, phase="decode", new_tokens=8)
    workload = own().model_copy(update={"mapped": (point,)})
    expected = [f"reads at most {SOURCES} tokens; the point of length {tokens} has more"] if refused else []
    assert TASK.mapped_problems(led(), workload) == expected


def test_a_request_that_never_ends_is_refused() -> None:
    stops = {"phase": "generate", "batch_size": 1, "context": 16, "new_tokens": 4, "stop": True}
    assert check(led(), own(points=[stops])) == []
    model = led()
    model.config.eos_token_id = None
    (found,) = check(model, own(points=[stops]))
    assert found == "has no eos_token_id in config.json, so a point with stop would never end; set it, or drop stop"


def test_rows_are_padded_on_the_right_and_masked() -> None:
    rows = [[4, 5, 6], [7], [8, 9]]
    ids, mask = padded(rows, -100)
    assert ids.tolist() == [[*row, *[-100] * (3 - len(row))] for row in rows]
    assert mask.tolist() == [[int(place < len(row)) for place in range(3)] for row in rows]
    assert ids.dtype == mask.dtype == torch.int64
