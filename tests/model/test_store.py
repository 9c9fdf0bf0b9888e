"""Tensors on disk: written as safetensors reads them, found under their names, replaced by finished files."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from compress.base.config import InputError
from compress.data.empty import unfilled_model
from compress.model.store import Place, Store, note_of, put, write
from tests import families, made_models


def test_a_written_file_is_what_safetensors_reads(tmp_path: Path) -> None:
    tensors = {
        "a": torch.arange(6.0).view(2, 3),
        "b": torch.arange(5, dtype=torch.uint8),
        "empty": torch.empty(0),
        "transposed": torch.arange(12.0).view(3, 4).T,
    }
    write(tmp_path / "x.safetensors", [(name, tensor, tensor.dtype) for name, tensor in tensors.items()])
    found = load_file(tmp_path / "x.safetensors")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_a_place_is_copied_in_the_type_asked_for(tmp_path: Path) -> None:
    save_file({"a": torch.tensor([1.5, 2.25])}, tmp_path / "x.safetensors")
    place = Place(tmp_path / "x.safetensors", "a", torch.float32, (2,))
    write(tmp_path / "y.safetensors", [("renamed", place, torch.float16)])
    assert torch.equal(load_file(tmp_path / "y.safetensors")["renamed"], torch.tensor([1.5, 2.25]).half())


def test_a_finished_file_replaces_and_removes_tensors(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2), "b": torch.ones(3)}, tmp_path / "x.safetensors")
    store = Store({name: Place(tmp_path / "x.safetensors", name, torch.float32, (2,)) for name in ("a", "b")})
    note = {"removed": ["b"], "packing": {"l": {"bits": 4}}, "record": {"l": 1}}
    put(tmp_path / "0.safetensors", [("a", torch.zeros(4), torch.float16)], note)
    assert note_of(tmp_path / "0.safetensors") == note and not list(tmp_path.glob("*.part"))
    found, shapes = store.adopt(tmp_path / "0.safetensors")
    assert found == note and shapes == {"a": (4,)} and store.packing == {"l": {"bits": 4}}
    assert list(store.tensors) == ["a"] and torch.equal(store.tensors["a"].read(), torch.zeros(4).half())


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "mixtral", "qwen3_moe"])
def test_every_parameter_is_read_as_transformers_loads_it(family: str, tmp_path: Path) -> None:
    model = families.FAMILIES[family]()
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    empty = unfilled_model(model.config, "causal-lm")
    store = Store.of(tmp_path, empty)
    for name, parameter in model.named_parameters():
        assert torch.equal(store.tensors[name].read(), parameter), name
    for name, buffer in model.named_buffers():
        assert torch.equal(dict(empty.named_buffers())[name], buffer), name


def test_a_parameter_that_is_not_stored_is_an_error(tmp_path: Path) -> None:
    model = made_models.llama(tied=False)
    kept = {name: tensor for name, tensor in model.state_dict().items() if "up_proj" not in name}
    save_file(kept, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"layers\.0\.mlp\.up_proj\.weight is not stored under this name \(2 in total"):
        Store.of(tmp_path, unfilled_model(model.config, "causal-lm"))


@pytest.mark.parametrize("equal", [True, False])
def test_a_head_that_is_stored_beside_its_embedding_is_tied_only_if_both_are_equal(equal: bool, tmp_path: Path) -> None:
    model = made_models.llama(tied=False)
    if equal:
        model.lm_head.weight = torch.nn.Parameter(model.model.embed_tokens.weight.detach().clone())
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    model.config.tie_word_embeddings = True
    empty = unfilled_model(model.config, "causal-lm")
    if equal:
        assert torch.equal(Store.of(tmp_path, empty).tensors["model.embed_tokens.weight"].read(), model.lm_head.weight)
    else:
        with pytest.raises(
            InputError, match=r"lm_head\.weight is stored beside model\.embed_tokens\.weight with other"
        ):
            Store.of(tmp_path, empty)
