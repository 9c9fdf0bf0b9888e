"""Offline workloads: made once, whole or not at all, from what every Python has. Tiny here, for a few steps."""

import dataclasses
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from compress.base import owners
from compress.base.config import InputError
from compress.data import loading, locate, offline
from compress.data.offline import bert as offline_bert
from compress.data.offline import llama as offline_llama
from compress.data.offline import text as offline_text
from compress.data.offline import vit as offline_vit
from compress.data.workload import Workload
from tests.helpers import ROOT

TINY: dict[str, Any] = {
    "stdlib-bert": dataclasses.replace(
        offline_bert.SETTINGS,
        vocabulary=512, hidden=32, layers=2, heads=2, intermediate=32, batch=4, steps=3,
        train_per_class=12, test_per_class=4,
    ),
    "digits-vit": dataclasses.replace(
        offline_vit.SETTINGS, hidden=32, layers=2, heads=2, intermediate=32, batch=4, steps=3
    ),
    "stdlib-llama": dataclasses.replace(
        offline_llama.SETTINGS,
        vocabulary=512, hidden=32, layers=2, heads=2, key_value_heads=1, intermediate=32, batch=2, steps=3,
        train_length=32, test_documents=2,
    ),
}  # fmt: skip


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def fake_stdlib(root: Path, packages: int, chars: int = offline_text.MIN_PACKAGE_CHARS) -> Path:
    """A folder that looks like a standard library with so many packages of enough source."""
    for name in offline_text.PACKAGES[:packages]:
        (root / name / "tests").mkdir(parents=True)
        lines = [f"{name}_{i} = compute({i})" for i in range(chars // 15)]
        (root / name / "code.py").write_text("\n".join(lines))
        (root / name / "tests" / "code.py").write_text("\n".join(f"secret_{i}" for i in range(5000)))
    return root


# the text


def test_snippets_are_of_like_length_from_ten_classes_or_more_without_tests() -> None:
    names, snippets = offline_text.snippets()
    assert len(names) >= 10
    assert {s.label for s in snippets if s.held_out} == set(range(len(names)))
    assert all(offline_text.LOW <= len(s.text) <= offline_text.HIGH for s in snippets)
    files = [f for name in names for f in offline_text.package_files(offline_text.stdlib(), name)]
    assert not [f for f in files if "test" in f.parent.parts]


def test_held_out_snippets_are_in_no_region_of_training(tmp_path: Path) -> None:
    _, snippets = offline_text.snippets(fake_stdlib(tmp_path, 10))
    train, test = (
        {line for s in snippets if s.held_out == held for line in s.text.split("\n")[1:-1]} for held in (0, 1)
    )
    assert test
    assert not train & test
    assert not [s for s in snippets if "secret" in s.text]


def test_real_training_and_test_snippets_share_no_text() -> None:
    _, train, test = offline_bert.split(offline_bert.SETTINGS)
    assert not {s.text for s in train} & {s.text for s in test}
    assert 600 <= len(test) <= 1000


def test_a_python_without_its_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="only 9 packages of this Python's standard library"):
        offline_text.packages(fake_stdlib(tmp_path, 9))


def test_the_source_digest_follows_the_text(tmp_path: Path) -> None:
    root = fake_stdlib(tmp_path, 10)
    before = offline_text.source_digest(root)
    assert offline_text.source_digest(root) == before
    (root / offline_text.PACKAGES[3] / "code.py").open("a").write("\nx = 1")
    assert offline_text.source_digest(root) != before


def test_cutting_keeps_the_text_in_order_and_loses_only_the_rest() -> None:
    text = "".join(f"line {i} of the text\n" for i in range(200))
    pieces = offline_text.cut(text)
    assert text.startswith("".join(pieces))
    assert len(text) - len("".join(pieces)) < offline_text.LOW
    assert [len(p) for p in offline_text.cut("x" * 2000)] == [offline_text.HIGH]


# making


@pytest.mark.parametrize("name", offline.names())
def test_a_made_workload_loads_and_is_judged_like_any_other(
    name: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from compress.data.tasks import task_of

    monkeypatch.setattr(f"compress.data.offline.{offline.OFFLINE[name].module}.SETTINGS", TINY[name])
    found = locate.resolve(Workload.load(name))
    model, processor = loading.load_model(found)
    test = loading.load_examples(found, "test", processor, model.config, limit=8)
    loading.check(found, model, processor, test)
    task = task_of(found.workload.task)
    batch = task.collate(list(test), processor)
    with torch.no_grad():
        logits = model(**{k: v for k, v in batch.items() if k != "labels"}).logits
    assert len(next(iter(task.outcomes(logits, batch).values()))) == len(test)
    assert task.fixed(test, processor, found.workload.headline_point, 2, 0)
    assert loading.load_examples(found, "train", processor, model.config, limit=4)
    assert locate.resolve(Workload.load(name)).digest == found.digest


@pytest.mark.parametrize("name", offline.names())
def test_the_full_size_is_two_to_five_million_parameters(name: str) -> None:
    import torch

    with torch.device("meta"):
        if name == "digits-vit":
            model = offline_vit.make_model(offline_vit.SETTINGS)
        else:
            module: Any = offline_bert if name == "stdlib-bert" else offline_llama
            tokenizer = _tokens(module.SETTINGS.vocabulary)
            make = module.make_model
            model = (
                make(tokenizer, module.SETTINGS) if name == "stdlib-llama" else make("abc", tokenizer, module.SETTINGS)
            )
    assert 2e6 < sum(p.numel() for p in model.parameters()) < 5e6


def _tokens(vocabulary: int) -> Any:
    class Tokens:
        pad_token_id, bos_token_id, eos_token_id = 0, 1, 2

        def __len__(self) -> int:
            return vocabulary

    return Tokens()


def test_a_second_call_makes_nothing_and_imports_no_torch(cache: Path) -> None:
    folder = offline.ensure("digits-vit", TINY["digits-vit"])
    before = (folder / "model" / "model.safetensors").stat().st_mtime_ns
    code = (
        "import sys, dataclasses; from compress.data import offline; from compress.data.offline import vit\n"
        "small = {'hidden': 32, 'layers': 2, 'heads': 2, 'intermediate': 32, 'batch': 4, 'steps': 3}\n"
        "tiny = dataclasses.replace(vit.SETTINGS, **small)\n"
        "print(offline.ensure('digits-vit', tiny)); print('torch' in sys.modules, 'sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(folder), "False", "False"]
    assert (folder / "model" / "model.safetensors").stat().st_mtime_ns == before
    assert not list(cache.glob(".*.tmp"))


def test_settings_and_python_version_make_another_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    before = offline.fingerprint("digits-vit")
    assert offline.fingerprint("digits-vit", dataclasses.replace(offline_vit.SETTINGS, seed=1)) != before
    monkeypatch.setattr("platform.python_version", lambda: "9.9.9")
    assert offline.fingerprint("digits-vit") != before


def test_training_is_seeded_and_leaves_the_callers_random_state_alone(cache: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    weights = []
    for name in ("one", "two"):
        (tmp_path / name / "data").mkdir(parents=True)
        torch.manual_seed(len(weights))
        expected = torch.get_rng_state()
        offline_vit.build(tmp_path / name, TINY["digits-vit"])
        assert torch.equal(torch.get_rng_state(), expected)
        weights.append(load_file(tmp_path / name / "model" / "model.safetensors"))
    assert all(torch.allclose(weights[0][key], weights[1][key], atol=1e-5) for key in weights[0])


@pytest.mark.parametrize("module", [offline_bert, offline_llama], ids=["bert", "llama"])
def test_a_tokenizer_made_twice_gives_the_same_ids(module: Any) -> None:
    texts = [s.text for s in offline_text.snippets()[1][:200]]
    one, two = (module.make_tokenizer(texts, module.SETTINGS) for _ in range(2))
    assert one.get_vocab() == two.get_vocab()
    assert one(texts[0])["input_ids"] == two(texts[0])["input_ids"]


def _slow_build(folder: Path, settings: Any) -> None:
    """Stands in for training: leaves one mark per build, then the files of a complete workload."""
    with (folder.parent / "builds").open("a") as marks:
        marks.write("x")
    time.sleep(0.3)
    (folder / "model").mkdir()
    for file in ("model/config.json", "model/model.safetensors", "data/train.parquet", "data/test.parquet"):
        (folder / file).write_text("{}")


def _ensure_slowly(cache: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPRESS_CACHE", cache)
        patch.setattr(offline_vit, "build", _slow_build)
        offline.ensure("digits-vit")


def test_two_processes_at_once_make_it_once(cache: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_ensure_slowly, args=(str(cache),)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert (cache / "builds").read_text() == "x"


def test_a_build_that_fails_leaves_nothing_and_leftovers_of_killed_ones_go(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path, settings: Any) -> None:
        (folder / "half").write_text("written")
        raise KeyboardInterrupt

    monkeypatch.setattr(offline_vit, "build", fail)
    with pytest.raises(KeyboardInterrupt):
        offline.ensure("digits-vit")
    assert not [p for p in cache.iterdir() if p.is_dir()]
    mine = owners.beside(cache / f"digits-vit-{offline.fingerprint('digits-vit')}", "tmp")
    mine.with_name(mine.name.replace(f"-{owners.started(os.getpid())}-", "-1-")).mkdir()  # of a process that is gone
    monkeypatch.setattr(offline_vit, "build", _slow_build)
    target = offline.ensure("digits-vit")
    assert [p for p in cache.iterdir() if p.is_dir()] == [target]


def test_a_damaged_folder_is_made_anew(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline_vit, "build", _slow_build)
    target = offline.ensure("digits-vit")
    (target / "data" / "test.parquet").unlink()
    assert offline.ensure("digits-vit") == target
    assert offline.is_complete(target)


def test_a_cache_that_cannot_be_written_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(InputError, match=r"offline:digits-vit: cannot be written to .* set COMPRESS_CACHE"):
        offline.ensure("digits-vit")


def test_an_unknown_offline_name_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="there are digits-vit, stdlib-bert, stdlib-llama"):
        offline.ensure("stdlib-gpt")


# full size


@pytest.mark.long
@pytest.mark.parametrize(("name", "least"), [("stdlib-bert", 0.80), ("digits-vit", 0.95)])
def test_the_full_size_classifiers_learn_their_task(name: str, least: float) -> None:
    import torch

    from compress.data.tasks import task_of

    found = locate.resolve(Workload.load(name))
    model, processor = loading.load_model(found)
    test = loading.load_examples(found, "test", processor, model.config)
    task = task_of(found.workload.task)
    right = 0
    for start in range(0, len(test), 32):
        batch = task.collate([test[i] for i in range(start, min(start + 32, len(test)))], processor)
        with torch.no_grad():
            outcomes = task.outcomes(model(**batch).logits, batch)
        right += sum(p == r for p, r in zip(outcomes["prediction"], outcomes["reference"], strict=True))
    assert least <= right / len(test) < 1


@pytest.mark.long
def test_the_full_size_language_model_predicts_source_far_better_than_chance() -> None:
    import math

    import torch

    from compress.data.tasks import task_of

    found = locate.resolve(Workload.load("stdlib-llama"))
    model, processor = loading.load_model(found)
    test = loading.load_examples(found, "test", processor, model.config, limit=64)
    task = task_of("causal-lm")
    batch = task.collate(list(test), processor)
    with torch.no_grad():
        outcomes = task.outcomes(model(**batch).logits, batch)
    assert math.exp(sum(outcomes["nll"]) / sum(outcomes["tokens"])) < 100  # chance is the vocabulary, 4096
