"""Static caches in a session, and windows in which torch.compile compiles."""

from pathlib import Path
from typing import Any

import pytest
import torch

from compress.energy.meters import Absent
from compress.energy.sampler import Sampler
from compress.measure.windows import compilations, measure_window
from compress.records import files as result_files
from compress.spec.measure import PROFILES
from tests.helpers import QUICK, compress, tokenizer
from tests.measure.test_decode import CACHE_BYTES, write_language
from tests.model.test_static_cache import mamba


def window(model: Any, lengths: list[int]) -> Any:
    """A window of 20 ms over batches of these lengths, without a meter."""
    settings = PROFILES["quick"].model_copy(update={"window_s": 0.02, "preroll_s": 0.0, "least_batches": 2})
    batches = [{"x": torch.ones(length)} for length in lengths]
    meter = Absent("a test")
    with Sampler(meter) as sampler:
        return measure_window(model, batches, settings, lambda: None, meter, sampler)


def test_a_window_in_which_something_is_compiled_is_an_error() -> None:
    doubled = torch.compile(lambda x: 2 * x, dynamic=False, backend="eager")
    with torch.no_grad():  # as in a window
        doubled(torch.ones(3))
    before = compilations()
    assert before > 0
    assert len(window(doubled, [3]).batch_ns) >= 2
    assert compilations() == before
    with pytest.raises(RuntimeError, match="compiled 1 graphs inside a measured window, after the warm-up"):
        window(doubled, [3, 5])
    assert len(window(doubled, [3, 5]).batch_ns) >= 2  # both shapes are known now


def test_a_static_cache_is_measured_and_its_memory_is_that_of_all_tokens(tmp_path: Path) -> None:
    path = write_language(tmp_path)
    more = ("--set", "kv_cache=static", "--set", "measure.points=all")
    done = compress("run", "llama_dense", "--workload", path, *QUICK, *more, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (result,) = result_files.read_all(tmp_path / "results")[0]
    decoding, prefill, shorter, request = result.points
    assert decoding.cache_bytes == (16 + 16) * CACHE_BYTES and shorter.cache_bytes == (8 + 4) * CACHE_BYTES // 2
    assert prefill.verdict is not None and request.energy_per_token_j is not None
    assert result.generation is not None and result.generation.new_tokens == 32
    assert any(note.startswith("kv_cache static: perplexity is judged on whole texts") for note in result.notes)
    shown = compress("show", next((tmp_path / "results" / "my").glob("*.json")), cwd=tmp_path).stdout
    assert "runtime eager, static cache" in shown


def test_a_model_without_one_is_refused_before_its_weights_are_loaded(tmp_path: Path) -> None:
    path = write_language(tmp_path)
    mamba().save_pretrained(tmp_path / "model")
    tokenizer().save_pretrained(tmp_path / "model")
    done = compress("run", "llama_dense", "--workload", path, "--set", "kv_cache=static", "--dry-run", cwd=tmp_path)
    assert done.returncode == 2
    assert "kv_cache static: transformers does not compile MambaForCausalLM with a static cache" in done.stderr
    assert "remove kv_cache" in done.stderr
