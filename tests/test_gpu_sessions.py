"""The sessions of `make gpu-results`: their recipes exist, and one runs from model to result, here on the CPU."""

import math
from dataclasses import replace
from pathlib import Path

import pandas
import pytest
import torch

import recipes as shipped
from benchmarks import gpu_results, shapes, trained_lm
from benchmarks.gpu_results import OUT, SESSIONS, Session
from compress.base.device import CPU
from compress.records import files as result_files
from compress.records.stats import Estimate
from tests import factory
from tests.helpers import assets


def test_sessions_have_names_of_their_own_and_recipes_that_exist() -> None:
    assert len({session.name for session in SESSIONS}) == len(SESSIONS)
    assert {recipe for session in SESSIONS for recipe in session.recipes} <= set(shipped.names())
    known = {gpu_results.REAL, gpu_results.TRAINED, *shapes.SHAPES}
    assert {session.model for session in SESSIONS} < known
    assert all(1 <= len(session.recipes) <= 5 for session in SESSIONS)


def test_a_language_model_is_trained_on_what_the_interpreter_has(tmp_path: Path) -> None:
    small = trained_lm.Sizes(
        vocabulary=512, hidden=32, layers=1, heads=2, key_value_heads=1, intermediate=64, train_length=32, batch=4,
        most_characters=200_000, tokenizer_characters=50_000, test_characters=20_000,
    )  # fmt: skip
    loss = trained_lm.make(tmp_path, torch.device("cpu"), 1.5, small)
    assert loss < math.log(512)  # better than knowing nothing
    train, test = (set(texts_of(tmp_path, part)) for part in ("train", "test"))
    assert train
    assert test
    assert not train & test


def texts_of(folder: Path, part: str) -> list[str]:
    """Texts of a split."""
    return list(pandas.read_parquet(folder / "data" / f"{part}.parquet")["text"])


def test_stored_sessions_are_in_the_list() -> None:
    found = {path.parent.name for path in OUT.glob("*/*.json")}
    assert found
    assert found <= {session.name for session in SESSIONS if gpu_results.there(session, OUT)}


def test_a_session_in_which_a_recipe_failed_is_taken_again_after_all_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = tuple(Session("minilm", size, 16, ("bert_bf16", "bert_int8")) for size in (1, 2, 4))
    monkeypatch.setattr(gpu_results, "SESSIONS", sessions)
    for session, error in zip(sessions, ("OutOfMemoryError: no room", None), strict=False):
        for name, why in (("bert_bf16", None), ("bert_int8", error)):
            (tmp_path / session.name).mkdir(exist_ok=True)
            row = replace(factory.result(name, 0.5), error=why)
            result_files.replace_file(tmp_path / session.name / f"{name}.json", row)
    assert gpu_results.missing(tmp_path) == [sessions[2], sessions[0]]


def test_a_session_of_random_weights_runs_from_the_shape_to_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assets("models", "minilm-l6-sst2")
    session = Session("llama-tiny", 2, 16, ("bitsandbytes_nf4",), changes=("measure.rounds=2",), part="-again0")
    monkeypatch.setattr(gpu_results, "SESSIONS", (session,))
    assert not gpu_results.there(session, tmp_path)
    short = ["measure.window_s=0.1", "measure.preroll_s=0", "measure.warmup_s=0.5"]
    assert gpu_results.measure(session, tmp_path, CPU, short) == 0
    assert gpu_results.there(session, tmp_path)
    (path,) = (tmp_path / "llama-tiny-random-weights-b2-l16-again0").glob("*.json")
    row = result_files.read(path)
    assert (row.name, row.limit, row.headline and row.headline.batch_size) == ("bitsandbytes_nf4", 64, 2)
    assert row.layers
    assert gpu_results.repeated(tmp_path)[1] is False  # one session is not enough


@pytest.mark.parametrize(
    ("joules", "apart", "kept"),
    [([1.0, 1.004, 0.996] * 3, 1, True), ([1.0, 1.03, 0.97] * 3, 0, False), ([1.0, 1.004, 0.996] * 3, 3, False)],
    ids=["kept", "spread", "different"],
)
def test_repeated_sessions_are_held_to_their_bounds(
    joules: list[float], apart: int, kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = tuple(Session("minilm", 1, 16, ("bert_bf16",), part=f"-again{n}") for n in range(len(joules)))
    monkeypatch.setattr(gpu_results, "SESSIONS", sessions)
    for number, (session, each) in enumerate(zip(sessions, joules, strict=True)):
        (tmp_path / session.name).mkdir()
        cost = 0.5 if number < apart else 1.0
        row = factory.result(session.name, cost, energy_source="nvml")
        assert row.headline is not None
        point = replace(row.headline, energy_j=Estimate(each, each, each, 6))
        result_files.replace_file(tmp_path / session.name / "a.json", replace(row, points=(point,)))
    lines, found = gpu_results.repeated(tmp_path)
    assert found is kept, lines
