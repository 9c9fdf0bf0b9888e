"""Offline workloads: made once, whole or not at all, from what every Python has. Tiny here, for a few steps."""

import dataclasses
import multiprocessing
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from compress.base import owners
from compress.base.config import InputError
from compress.data import loading, locate, offline
from compress.data.offline import bert as offline_bert
from compress.data.offline import llama as offline_llama
from compress.data.offline import ner as offline_ner
from compress.data.offline import search as offline_search
from compress.data.offline import text as offline_text
from compress.data.offline import vit as offline_vit
from compress.data.offline.bindings import Function
from compress.data.workload import Workload
from tests.helpers import ROOT

TINY: dict[str, Any] = {
    "stdlib-bert": dataclasses.replace(
        offline_bert.SETTINGS,
        vocabulary=512, hidden=32, layers=2, heads=2, intermediate=32, batch=4, steps=3,
        train_per_keyword=12, test_per_keyword=4,
    ),
    "digits-vit": dataclasses.replace(
        offline_vit.SETTINGS, hidden=32, layers=2, heads=2, intermediate=32, batch=4, steps=3
    ),
    "stdlib-llama": dataclasses.replace(
        offline_llama.SETTINGS,
        vocabulary=512, hidden=32, layers=2, heads=2, key_value_heads=1, intermediate=32, batch=2, steps=3,
        train_length=32, test_documents=2,
    ),
    "stdlib-ner": dataclasses.replace(
        offline_ner.SETTINGS, vocabulary=512, hidden=32, layers=2, heads=2, intermediate=32, batch=4, steps=3
    ),
    "stdlib-search": dataclasses.replace(
        offline_search.SETTINGS, vocabulary=512, hidden=32, heads=2, intermediate=32, batch=4, steps=3
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


def test_regions_are_long_and_of_ten_packages_or_more_without_tests() -> None:
    names = offline_text.packages()
    assert len(names) >= 10
    files = [f for name in names for f in offline_text.package_files(offline_text.stdlib(), name)]
    assert not [f for f in files if "test" in f.parent.parts]
    held_out = [held for _, held in offline_text.regions()]
    assert 0.1 < sum(held_out) / len(held_out) < 0.25


def test_held_out_regions_share_no_lines_with_those_of_training(tmp_path: Path) -> None:
    regions = list(offline_text.regions(fake_stdlib(tmp_path, 10)))
    train, test = (
        {line for text, held in regions if held == part for line in text.split("\n")[1:-1]} for part in (0, 1)
    )
    assert test
    assert not train & test
    assert not [text for text, _ in regions if "secret" in text]


@pytest.fixture(scope="module")
def keywords() -> tuple[Any, list[offline_bert.Example], list[offline_bert.Example]]:
    """The tokenizer, training and test examples of stdlib-bert."""
    files = list(offline_text.files())
    tokenizer = offline_bert.make_tokenizer([text for text, held in files if not held], offline_bert.SETTINGS)
    return tokenizer, *offline_bert.split(files, tokenizer, offline_bert.SETTINGS)


def test_keywords_are_hidden_in_the_middle_of_texts_of_one_length(keywords: Any) -> None:
    tokenizer, train, test = keywords
    assert len(test) >= 2500
    assert {example.label for example in test} == set(range(len(offline_bert.KEYWORDS)))
    rows = tokenizer([example.text for example in test])["input_ids"]
    middle = offline_bert.SETTINGS.length // 2 - 1
    for row in rows:  # cut within a word, a text may have a token more or less than its source
        assert abs(len(row) - offline_bert.SETTINGS.length) <= 2
        assert row.count(tokenizer.mask_token_id) == 1
        assert abs(row.index(tokenizer.mask_token_id) - middle) <= 2
    assert not {example.text for example in train} & {example.text for example in test}


@pytest.mark.long
def test_the_hidden_keyword_takes_the_encoder(cache: Path, keywords: Any) -> None:
    """The trained model is right for 65 % or more, and a bag of words for 20 points less."""
    import torch
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    _, train, test = keywords
    words = CountVectorizer(token_pattern=r"\w+|[^\w\s]", lowercase=False, min_df=3)
    counts = words.fit_transform([example.text for example in train])
    bag = LogisticRegression(max_iter=150, C=0.1, class_weight="balanced").fit(
        counts, [example.label for example in train]
    )
    baseline = bag.score(words.transform([example.text for example in test]), [example.label for example in test])
    model, processor = loading.load_model(locate.resolve(Workload.load("stdlib-bert")))
    right = 0
    for start in range(0, len(test), 256):
        part = test[start : start + 256]
        batch = processor([example.text for example in part], padding=True, return_tensors="pt")
        with torch.no_grad():
            answers = model(**batch).logits.argmax(-1)
        right += int((answers == torch.tensor([example.label for example in part])).sum())
    accuracy = right / len(test)
    assert accuracy >= 0.65
    assert accuracy - baseline >= 0.2


def test_hiding_a_keyword_leaves_its_surroundings(keywords: Any) -> None:
    source = "def f(name):\n    if not name:\n        return None\n" * 8
    found = list(offline_bert.examples(source, keywords[0], 24))
    assert found
    for example in found:
        left, right = example.text.split("[MASK]")
        word = offline_bert.KEYWORDS[example.label]
        assert f"{left} {word}{right}" in source or f"{left}{word}{right}" in source
    assert not list(offline_bert.examples("notify(iffy, format, asis)\n" * 30, keywords[0], 24))


@pytest.fixture(scope="module")
def functions() -> tuple[list[Function], list[Function]]:
    """Training and test functions of stdlib-ner, of every length."""
    return offline_ner.split(offline_text.files())


def test_the_test_split_has_the_functions_of_every_sixth_file_and_none_of_training(functions: Any) -> None:
    files = [(f"def f{i}():\n    return {i}\ndef same(): pass\n", held) for i, held in enumerate([True, False] * 2)]
    train, test = offline_ner.split(iter([*files, ("no python", True)]))
    assert [each.words[1] for each in train] == ["f1", "same", "f3"]
    assert [each.words[1] for each in test] == ["f0", "f2"]
    assert len(functions[0]) >= 3000
    assert len(functions[1]) >= 500
    assert not {tuple(each.words) for each in functions[0]} & {tuple(each.words) for each in functions[1]}


def test_functions_longer_than_the_model_reads_are_left_out(functions: Any) -> None:
    test = functions[1][:100]
    tokenizer = offline_bert.make_tokenizer([word for each in test for word in each.words], offline_ner.SETTINGS)
    kept = offline_ner.of_length(test, tokenizer, 32)
    lengths = [len(tokenizer(each.words, is_split_into_words=True)["input_ids"]) for each in test]
    assert kept == [each for each, length in zip(test, lengths, strict=True) if length <= 32]
    assert 0 < len(kept) < len(test)


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
def test_the_full_size_is_one_to_five_million_parameters(name: str) -> None:
    import torch

    module = offline.module_of(name)
    tokenizer = () if name == "digits-vit" else (_tokens(module.SETTINGS.vocabulary),)
    with torch.device("meta"):
        model = module.make_model(*tokenizer, module.SETTINGS)
    assert 1e6 < sum(p.numel() for p in model.parameters()) < 5e6


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


@pytest.mark.parametrize("module", [offline_bert, offline_llama, offline_ner], ids=["bert", "llama", "ner"])
def test_a_tokenizer_made_twice_gives_the_same_ids(module: Any) -> None:
    texts = [text for text, _ in offline_text.files()][:20]
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
    with pytest.raises(InputError, match="there are digits-vit, stdlib-bert, stdlib-llama, stdlib-ner, stdlib-search"):
        offline.ensure("stdlib-gpt")


# full size


@pytest.mark.long
@pytest.mark.parametrize(("name", "least"), [("stdlib-bert", 0.65), ("digits-vit", 0.95)])
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
def test_the_full_size_tagger_is_far_above_a_lookup_of_words(functions: Any) -> None:
    """Entity F1 of the trained model: 0.65 or more, and 15 points above every word's most frequent tag."""
    import torch
    from seqeval.metrics import f1_score

    train, test = functions
    model, processor = loading.load_model(locate.resolve(Workload.load("stdlib-ner")))
    train, test = (offline_ner.of_length(part, processor, offline_ner.SETTINGS.length) for part in (train, test))
    found = []
    for each in test:
        encoded = processor([each.words], is_split_into_words=True, return_tensors="pt")
        with torch.no_grad():
            ids = model(**encoded).logits[0].argmax(-1).tolist()  # [length]
        first = {word: place for place, word in reversed(list(enumerate(encoded.word_ids()))) if word is not None}
        found.append([model.config.id2label[ids[first[word]]] for word in range(len(each.words))])
    gold = [each.tags for each in test]
    f1 = f1_score(gold, found)
    assert 0.65 <= f1 < 1
    assert f1 - f1_score(gold, looked_up(train, [each.words for each in test])) >= 0.15


def looked_up(train: list[Any], texts: list[list[str]]) -> list[list[str]]:
    """Return every word's most frequent tag in the training; O for unknown words."""
    tags: dict[str, Counter[str]] = {}
    for function in train:
        for word, tag in zip(function.words, function.tags, strict=True):
            tags.setdefault(word, Counter())[tag] += 1
    return [[tags[word].most_common(1)[0][0] if word in tags else "O" for word in words] for words in texts]


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
