"""How many tokens models take: found by running tiny ones, and read off their empty skeletons."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from ruamel.yaml import YAML

from compress.data import positions, template
from compress.data.empty import empty_model
from tests.helpers import tokenizer

SIZE = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
PLACES = {**SIZE, "max_position_embeddings": 40}
DEBERTA = {**PLACES, "relative_attention": True, "position_biased_input": False, "pos_att_type": ["p2c", "c2p"]}
BART = {"vocab_size": 64, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "max_position_embeddings": 40,
        "eos_token_id": 3}  # fmt: skip
XLNET = {"vocab_size": 64, "d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 16}
GPT2 = {"vocab_size": 64, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 40, "pad_token_id": 0}

MODELS: list[tuple[str, dict[str, Any], int | None]] = [
    ("Bert", PLACES, 40), ("Albert", {**PLACES, "embedding_size": 8}, 40), ("Electra", PLACES, 40),
    ("BigBird", {**PLACES, "attention_type": "original_full"}, 40), ("Roberta", {**PLACES, "pad_token_id": 1}, 38),
    ("Roberta", {**PLACES, "pad_token_id": 0}, 39), ("Camembert", PLACES, 38), ("XLMRoberta", PLACES, 38),
    ("MPNet", PLACES, 38), ("MPNet", {**PLACES, "pad_token_id": 0}, 38), ("IBert", PLACES, 38),
    ("Longformer", {**PLACES, "attention_window": 4}, 38), ("Yoso", PLACES, 40), ("Bart", BART, 40), ("GPT2", GPT2, 40),
    ("DebertaV2", PLACES, 40), ("DebertaV2", DEBERTA, None), ("XLNet", XLNET, None),
]  # fmt: skip


def runs(model: Any, length: int) -> bool:
    """Whether a model takes so many tokens."""
    ids = torch.arange(length)[None] % 50 + 6
    ids[0, -1] = 3  # BART's end of a text
    try:
        with torch.no_grad():
            model(input_ids=ids, attention_mask=torch.ones_like(ids))
    except (IndexError, RuntimeError):
        return False
    return True


@pytest.mark.parametrize(("kind", "fields", "limit"), MODELS, ids=[f"{kind}-{limit}" for kind, _, limit in MODELS])
def test_the_limit_read_off_a_skeleton_is_the_longest_input_that_runs(
    kind: str, fields: dict[str, Any], limit: int | None
) -> None:
    config = getattr(transformers, f"{kind}Config")(**fields)
    model = getattr(transformers, f"{kind}ForSequenceClassification")(config).eval()
    assert positions.limit(empty_model(config, "text-classification")) == limit
    assert runs(model, limit or 90)
    assert limit is None or not runs(model, limit + 1)


def test_a_first_workload_file_takes_the_limit_of_the_model(tmp_path: Path) -> None:
    data = tmp_path / "test.csv"
    data.write_text("text,label\ngood,1\n")
    limits = []
    for config in (transformers.RobertaConfig(**PLACES, pad_token_id=1), transformers.BertConfig(**SIZE)):
        config.save_pretrained(tmp_path / "model")
        text = template.init(str(tmp_path / "model"), str(data), "text-classification")
        limits.append(YAML(typ="safe").load(text)["max_length"])
    assert limits == [38, 128]


@pytest.mark.parametrize(("kind", "told"), [("Roberta", True), ("GPT2", True), ("Bert", False)])
def test_another_padding_token_than_the_tokenizers_counts_where_the_model_looks_for_it(kind: str, told: bool) -> None:
    from compress.data.tasks.texts import padding_problems

    fields = {**(GPT2 if kind == "GPT2" else PLACES), "pad_token_id": 5}
    model = empty_model(getattr(transformers, f"{kind}Config")(**fields), "text-classification")
    assert bool(padding_problems(model, tokenizer())) == told
