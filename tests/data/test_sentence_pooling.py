"""Pooling of token vectors, and settings of sentence-transformers' folders: right values by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from compress.base.config import InputError
from compress.data.sentences import settings
from compress.data.sentences.encoder import SENTENCE_ENCODER
from compress.data.sentences.pooling import POOLS, normalized, pooled
from compress.data.sentences.settings import Settings
from compress.data.workload import Workload
from tests.similar import GENERATIONS, NEW, OLD, encoder, write_encoder

STATES = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [3.0, -3.0], [3.0, -3.0]]])
QUERY = torch.tensor([1.0, 0.0])


def cosine(vector: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(vector[0], QUERY, dim=0))


def test_the_mean_leaves_padding_out() -> None:
    """Silent error 5: 0.8137 over padding, 1.0 by the first token."""
    mask = torch.tensor([[1, 1, 0, 0]])
    assert cosine(pooled(STATES, mask, ["mean"])) == pytest.approx(0.7071, abs=1e-4)
    assert cosine(pooled(STATES, torch.ones_like(mask), ["mean"])) == pytest.approx(0.8137, abs=1e-4)
    assert cosine(pooled(STATES, mask, ["cls"])) == 1.0


def test_dot_products_of_normalised_vectors_rank_by_direction() -> None:
    """Silent error 6: without normalisation the long vector is first, and the relevant one (nDCG 0.6309) second."""
    documents = torch.tensor([[0.9, 0.1], [5.0, 5.0], [0.8, 0.3]])
    assert (normalized(documents) @ QUERY).argmax() == 0
    assert (documents @ QUERY).argmax() == 1


def by_hand(mode: str, states: torch.Tensor, mask: list[int], skipped: int) -> torch.Tensor:
    real = [place for place, one in enumerate(mask) if one]
    kept = real[skipped:]
    rows = torch.stack([states[place] for place in kept])
    weights = torch.tensor([[real.index(place) + 1.0] for place in kept])
    return {
        "mean": rows.mean(0),
        "cls": rows[0],
        "max": rows.max(0).values,
        "mean_sqrt_len_tokens": rows.sum(0) / len(rows) ** 0.5,
        "weightedmean": (rows * weights).sum(0) / weights.sum(),
        "lasttoken": rows[-1],
    }[mode]


@pytest.mark.parametrize("mode", POOLS)
@pytest.mark.parametrize("skipped", [0, 2])
def test_every_pooling_equals_a_loop_over_tokens_with_padding_on_either_side(mode: str, skipped: int) -> None:
    states = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
    masks = [[1, 1, 1, 1, 0, 0], [0, 1, 1, 1, 1, 1]]
    found = pooled(states, torch.tensor(masks), [mode], skipped)
    expected = torch.stack([by_hand(mode, *each, skipped) for each in zip(states, masks, strict=True)])
    assert torch.allclose(found, expected, atol=1e-6)


def test_several_poolings_are_joined() -> None:
    mask = torch.ones(1, 4, dtype=torch.long)
    both = pooled(STATES, mask, ["cls", "mean"])
    assert both.tolist() == [[1.0, 0.0, 1.75, -1.25]]


def test_half_precision_sums_in_fp32() -> None:
    states = torch.full((1, 3000, 1), 1.0, dtype=torch.bfloat16)  # sums in bf16 stop at 256
    assert pooled(states, torch.ones(1, 3000, dtype=torch.long), ["mean"]).item() == 1.0


def stated(**fields: Any) -> Any:
    data = {"task": "sentence-similarity", "model": "m", "dataset": {"path": "d", "text_pair": "b"}}
    return Workload.model_validate({**data, **fields})


def test_both_generations_of_folders_are_read(tmp_path: Path) -> None:
    old, new = (settings.of_folder(write_encoder(tmp_path / name, name)) for name in ("old", "new"))
    assert old == Settings(("mean",), True, max_length=24)
    assert new == Settings(("mean",), True)
    assert settings.of_folder(write_encoder(tmp_path / "plain", "plain")) is None


def test_normalize_is_stated_by_modules_alone(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "model", "old", **{"modules.json": OLD["modules.json"][:2]})
    found = settings.of_folder(folder)
    assert found is not None and not found.normalize
    assert not (folder / "2_Normalize").exists()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, ("cls",)),
        ({"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": True}, ("max", "mean")),
        ({"word_embedding_dimension": 32}, ("mean",)),
        ({"pooling_mode": "lasttoken"}, ("lasttoken",)),
        ({"pooling_mode": ["cls", "weightedmean"]}, ("cls", "weightedmean")),
    ],
)
def test_poolings_have_two_styles_of_keys(fields: dict[str, Any], expected: tuple[str, ...], tmp_path: Path) -> None:
    found = settings.of_folder(write_encoder(tmp_path / "model", "new", **{"1_Pooling/config.json": fields}))
    assert found is not None and found.pooling == expected


def test_the_default_prompt_is_read(tmp_path: Path) -> None:
    prompts = {"prompts": {"query": "find: ", "passage": ""}, "default_prompt_name": "query"}
    found = settings.of_folder(write_encoder(tmp_path / "model", **{"config_sentence_transformers.json": prompts}))
    assert found is not None and found.prompt == "find: "


def module(kind: str, path: str = "") -> dict[str, Any]:
    return {"idx": 2, "name": "2", "path": path, "type": f"sentence_transformers.models.{kind}"}


MODULES = NEW["modules.json"]
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "dense": (
        {"modules.json": [*MODULES[:2], module("Dense", "2_Dense")]},
        "modules.json: module 2 is sentence_transformers.models.Dense in '2_Dense'; expected Transformer in the folder",
    ),
    "a transformer elsewhere": (
        {"modules.json": [module("Transformer", "0_Transformer"), *MODULES[1:]]},
        "module 0 is sentence_transformers.models.Transformer in '0_Transformer'",
    ),
    "own code": (
        {"modules.json": [{"idx": 0, "path": "", "type": "custom_st.Transformer"}, *MODULES[1:]]},
        "custom_st.Transformer is code of its own; only modules of sentence_transformers are supported",
    ),
    "no pooling": ({"modules.json": MODULES[:1]}, "has no Pooling after the Transformer"),
    "no list": ({"modules.json": {}}, "modules.json: expected a list of modules, each with type and path"),
    "an unknown pooling": (
        {"1_Pooling/config.json": {"pooling_mode": "meen"}},
        "1_Pooling/config.json: pooling_mode 'meen'; expected one of mean, cls",
    ),
    "no length": (
        {"sentence_bert_config.json": {"max_seq_length": "long"}},
        "sentence_bert_config.json: max_seq_length 'long'; expected a number of tokens",
    ),
    "an unknown prompt": (
        {"config_sentence_transformers.json": {"prompts": {}, "default_prompt_name": "query"}},
        "default_prompt_name 'query' names none of its prompts",
    ),
    "another output": (
        {"sentence_bert_config.json": {"transformer_task": "fill-mask"}},
        "transformer_task fill-mask; expected feature-extraction",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_folders_that_cannot_be_read_as_published_are_refused(kind: str, tmp_path: Path) -> None:
    files, expected = REFUSED[kind]
    with pytest.raises(InputError, match=expected.replace("(", r"\(").replace(")", r"\)")):
        settings.of_folder(write_encoder(tmp_path / "model", **files))


def test_a_pooling_outside_the_folder_is_refused(tmp_path: Path) -> None:
    modules = [MODULES[0], {**MODULES[1], "path": "../elsewhere"}]
    with pytest.raises(InputError, match=r"\.\./elsewhere/config\.json: missing"):
        settings.of_folder(write_encoder(tmp_path / "model", **{"modules.json": modules}))


def test_a_plain_encoder_needs_a_stated_pooling(tmp_path: Path) -> None:
    model = encoder()
    folder = write_encoder(tmp_path / "model", "plain", model)
    with pytest.raises(InputError, match=r"is a plain encoder, without modules\.json; set pooling in the workload"):
        settings.read(folder, model.config, stated())
    assert settings.read(folder, model.config, stated(pooling="cls")) == Settings(("cls",))
    assert settings.read(folder, model.config, stated(pooling="max", normalize=True)).normalize


def test_a_workload_that_contradicts_the_folder_is_refused(tmp_path: Path) -> None:
    model = encoder()
    folder = write_encoder(tmp_path / "model", "new", model)
    with pytest.raises(InputError, match=r"has pooling mean .* but the workload sets cls; remove pooling from it"):
        settings.read(folder, model.config, stated(pooling="cls"))
    with pytest.raises(InputError, match=r"has normalize True .* but the workload sets False"):
        settings.read(folder, model.config, stated(normalize=False))
    assert settings.read(folder, model.config, stated(prompt="query: ")).prompt == "query: "


@pytest.mark.parametrize("kind", ["Bert", "Roberta", "DistilBert", "MPNet"])
def test_an_encoder_equals_a_literal_mean_and_normalisation(kind: str, tmp_path: Path) -> None:
    plain = encoder(kind)
    settings.store(plain.config, Settings(("mean",), True))
    plain.save_pretrained(tmp_path)
    model, info = SENTENCE_ENCODER.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    ids = torch.tensor([[2, 5, 6, 7, 3], [2, 9, 3, 0, 0]])
    mask = (ids != 0).long()
    with torch.no_grad():
        states = plain(input_ids=ids, attention_mask=mask).last_hidden_state
        found = model.eval()(input_ids=ids, attention_mask=mask).logits
    for row, count in enumerate([5, 3]):
        mean = states[row, :count].mean(dim=0)
        assert torch.allclose(found[row], mean / mean.norm(), atol=1e-6)


def test_what_is_written_beside_an_encoder_is_read_again(tmp_path: Path) -> None:
    given = Settings(("cls", "mean"), False, prompt="query: ", include_prompt=False, max_length=64, lowercase=True)
    settings.write(given, 32, tmp_path)
    assert settings.of_folder(tmp_path) == given
    assert json.loads((tmp_path / "modules.json").read_text())[1]["path"] == "1_Pooling"
    assert set(GENERATIONS) == {"old", "new", "plain"}


def test_a_mask_of_pairs_of_tokens_is_refused() -> None:
    plain = encoder()
    settings.store(plain.config, Settings(("mean",)))
    model = SENTENCE_ENCODER.from_config(plain.config)
    with pytest.raises(ValueError, match="attention_mask has 4 dimensions; pooling expects 2"):
        model(input_ids=torch.tensor([[2, 5]]), attention_mask=torch.zeros(1, 1, 2, 2))
