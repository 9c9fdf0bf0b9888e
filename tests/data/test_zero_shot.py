"""Zero-shot image classification: logits by transformers' own models, classes and templates, and the cache."""

import hashlib
import io
import os
import shutil
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
import transformers
from huggingface_hub import constants
from PIL import Image

from compress.base.config import InputError
from compress.base.devices import CPU
from compress.cli.questions import task_of_folder
from compress.data import loading, locate, tables
from compress.data.cached import UNUSED_S
from compress.data.tasks import task_of, task_of_class
from compress.data.template import init
from compress.data.workload import Workload
from compress.data.zero_shot.model import cosines
from compress.harness import fingerprints
from compress.measure.evaluate import evaluate
from compress.records.machine import describe
from tests.zero_shot import (
    COLOURS,
    TEMPLATES,
    image_processor,
    opened,
    pictures,
    table,
    tokenizer,
    trained,
    two_towers,
    write_colours,
    write_towers,
    write_zero_shot,
)

TASK = task_of("zero-shot-image-classification")
KINDS = ("clip", "siglip")


def expected_logits(whole: Any, kind: str, pixels: torch.Tensor, names: Any, templates: Any = TEMPLATES) -> Any:
    """Logits by transformers' own model, one text at a time."""
    rows = []
    for name in names:
        vectors = []
        for template in templates:
            how = {"padding": "max_length", "max_length": 12} if kind == "siglip" else {}
            ids = tokenizer()(template.format(name), return_tensors="pt", **how)["input_ids"]
            vector = whole.get_text_features(input_ids=ids).pooler_output[0]
            vectors.append(vector / vector.norm())
        mean = sum(vectors) / len(vectors)
        rows.append(mean / mean.norm())
    images = whole.get_image_features(pixel_values=pixels).pooler_output
    images = images / images.norm(dim=-1, keepdim=True)
    logits = images @ torch.stack(rows).T * whole.logit_scale.exp()
    return logits + whole.logit_bias if kind == "siglip" else logits


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_transformers_with_the_mean_of_templates(kind: str, tmp_path: Path) -> None:
    whole = two_towers(kind)
    model, processor, source = opened(write_zero_shot(tmp_path, kind, whole))
    examples = loading.load_examples(source, "test", processor, model.config)
    batch = TASK.collate([examples[i] for i in range(8)], processor)
    own = image_processor(kind)(images=pictures(60, 2)[0][:8], return_tensors="pt")["pixel_values"]
    assert torch.allclose(batch["pixel_values"], own)
    with torch.no_grad():
        expected = expected_logits(whole, kind, own, COLOURS)
        assert torch.allclose(model(pixel_values=batch["pixel_values"]).logits, expected, atol=1e-5)
    assert model.config.id2label == {0: "red", 1: "green", 2: "blue"}
    assert not any(name.startswith("text_") for name in model.state_dict())


@pytest.mark.parametrize("kind", KINDS)
def test_one_template_gives_the_logits_of_the_whole_model(kind: str, tmp_path: Path) -> None:
    whole = two_towers(kind)
    model, processor, _ = opened(write_zero_shot(tmp_path, kind, whole, templates=["a photo of a {}."]))
    pixels = processor(images=pictures(4, 3)[0], return_tensors="pt")["pixel_values"]
    texts = tokenizer()([f"a photo of a {name}." for name in COLOURS], padding="max_length", return_tensors="pt")
    given = {name: texts[name] for name in ("input_ids", *(() if kind == "siglip" else ("attention_mask",)))}
    with torch.no_grad():
        expected = whole(pixel_values=pixels, **given).logits_per_image
        assert torch.allclose(model(pixel_values=pixels).logits, expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_trained_model_names_the_colours(kind: str, tmp_path: Path) -> None:
    model, processor, source = opened(write_zero_shot(tmp_path, kind, trained(kind)))
    examples = loading.load_examples(source, "test", processor, model.config)
    loading.check(source, model, processor, examples)
    found = evaluate(model, TASK, examples, processor, torch.device("cpu"), 8)
    assert found.outcomes["reference"] == pictures(60, 2)[1]
    assert np.mean(np.array(found.outcomes["prediction"]) == found.outcomes["reference"]) > 0.9
    assert "3 classes (red, green, blue) x 3 templates ('a photo of a {}.', " in found.remark
    assert "steps change the vision tower only" in found.remark


def test_texts_are_encoded_once_for_the_same_classes_and_templates(tmp_path: Path) -> None:
    path = write_zero_shot(tmp_path)
    first = locate.resolve(Workload.load(path))
    again = locate.resolve(Workload.load(path))
    other = locate.resolve(Workload.load(write_zero_shot(tmp_path, templates=["a {}"])))
    assert first.model == again.model != other.model
    assert first.digest == again.digest != other.digest
    assert first.place == f"colours model {tmp_path / 'model'}"
    assert not list(Path(first.model).glob("tokenizer*"))


def test_files_are_read_once_to_find_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, hashed, read = write_zero_shot(tmp_path), list[str](), list[str]()
    for split in ("train", "test"):
        rows = {"image": table(12, len(split))["image"], "label": ["red", "green", "blue"] * 4}
        features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
        datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "data" / f"{split}.parquet")
    whole_hash, whole_read = hashlib.file_digest, tables.read_files

    def file_digest(stream: Any, kind: Any) -> Any:
        hashed.append(Path(stream.name).name)
        return whole_hash(stream, kind)

    def read_files(files: list[Path], spec: Any) -> Any:
        read.extend(file.name for file in files)
        return whole_read(files, spec)

    monkeypatch.setattr(hashlib, "file_digest", file_digest)
    monkeypatch.setattr(tables, "read_files", read_files)
    source = locate.resolve(Workload.load(path))
    assert loading.config_of(source).num_labels == 3
    assert hashed.count("model.safetensors") == 1
    assert sorted(read) == ["test.parquet", "train.parquet"]


def test_embeddings_that_no_run_has_used_for_a_month_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path / "cache"))
    first = Path(locate.resolve(Workload.load(write_zero_shot(tmp_path))).model)
    for age, is_kept in ((UNUSED_S - 60, True), (UNUSED_S + 60, False)):
        used = first.stat().st_mtime - age
        os.utime(first, (used, used))
        other = Path(locate.resolve(Workload.load(write_zero_shot(tmp_path, templates=["a {}"]))).model)
        assert other.parent == first.parent and other.exists()
        assert first.exists() is is_kept


def test_artifacts_depend_on_classes_that_only_the_test_split_has(tmp_path: Path) -> None:
    inputs = []
    for test in ("test", "test-more"):
        path = write_zero_shot(tmp_path, dataset={"test": test, "train": None})
        for file, names in (("test", ["red", "blue"]), ("test-more", ["red", "blue", "green"])):
            labels = [names[i % len(names)] for i in range(12)]
            rows = {"image": table(12, 2)["image"], "label": labels}
            features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
            datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "data" / f"{file}.parquet")
        source = locate.resolve(Workload.load(path))
        inputs.append(fingerprints.transform_inputs(source, describe(CPU)))
        assert loading.config_of(source).num_labels == (2 if test == "test" else 3)
    assert inputs[0] != inputs[1]


def test_a_model_of_the_hub_is_read_from_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    local, *_ = opened(write_zero_shot(tmp_path / "local"))
    commit, home = "1" * 40, tmp_path / "hub" / "models--owner--colours"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(commit)
    shutil.copytree(tmp_path / "local" / "model", home / "snapshots" / commit)
    path = write_zero_shot(tmp_path / "local", model="owner/colours")
    model, _, source = opened(path)
    assert source.place == "colours model owner/colours" and source.resolved["derived_from"] == "owner/colours"
    assert source.resolved["model_revision"] == commit and source.model_commit is None
    assert torch.equal(model.class_embeddings, local.class_embeddings)
    student = loading.student_location("owner/colours", TASK.name, model.config)
    assert student == source.model
    (home / "snapshots" / commit / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"owner/colours: its weights are not on this machine, and the hub cannot be"):
        opened(path)


def test_a_name_with_underscores_is_read_with_spaces(tmp_path: Path) -> None:
    names = ["the_red", "the_green", "the_blue"]
    rows = {name: table(60, 2, named=False)[name] for name in ("image", "label")}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    model, *_ = opened(write_zero_shot(tmp_path, test=datasets.Dataset.from_dict(rows, features=features)))
    whole, pixels = two_towers(), torch.zeros(1, 3, 16, 16)
    with torch.no_grad():
        expected = expected_logits(whole, "clip", pixels, [name.replace("_", " ") for name in names])
        assert torch.allclose(model(pixel_values=pixels).logits, expected, atol=1e-5)


def test_numbers_take_their_names_from_the_workload(tmp_path: Path) -> None:
    path = write_zero_shot(tmp_path, test=table(12, 2, named=False), classes=["red", "green", "blue"])
    model, processor, source = opened(path)
    examples = loading.load_examples(source, "test", processor, model.config)
    assert model.config.id2label[2] == "blue" and examples["labels"] == pictures(12, 2)[1]


def test_the_workloads_names_may_replace_those_of_the_data(tmp_path: Path) -> None:
    names = ["the colour red", "the colour green", "the colour blue"]
    model, processor, source = opened(write_zero_shot(tmp_path, classes=names))
    with pytest.raises(InputError, match=r"set dataset.labels to ids if both have the same order"):
        loading.load_examples(source, "test", processor, model.config)
    model, processor, source = opened(write_zero_shot(tmp_path, classes=names, dataset={"labels": "ids"}))
    assert loading.load_examples(source, "test", processor, model.config)["labels"] == pictures(60, 2)[1]


def test_class_folders_name_the_classes(tmp_path: Path) -> None:
    path = write_zero_shot(tmp_path)
    for split, seed in (("train", 1), ("test", 2)):
        (tmp_path / "data" / f"{split}.parquet").unlink()
        for number, (picture, label) in enumerate(zip(*pictures(12, seed), strict=True)):
            folder = tmp_path / "data" / split / list(COLOURS)[label]
            folder.mkdir(parents=True, exist_ok=True)
            picture.save(folder / f"{number}.png")
    model, processor, source = opened(path)
    assert list(model.config.id2label.values()) == ["blue", "green", "red"]
    labels = loading.load_examples(source, "test", processor, model.config)["labels"]
    assert sorted(labels) == sorted(2 - label for label in pictures(12, 2)[1])


def test_pictures_of_other_modes_become_rgb(tmp_path: Path) -> None:
    rgb = pictures(1, 4)[0][0]
    alpha = rgb.convert("RGBA")
    alpha.putalpha(99)
    given = {"gray": rgb.convert("L"), "alpha": alpha, "palette": rgb.convert("P"), "rgb": rgb}
    rows = {"image": [{"bytes": encoded(each), "path": None} for each in given.values()], "label": [0, 1, 2, 0]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(COLOURS))})
    model, processor, source = opened(
        write_zero_shot(tmp_path, test=datasets.Dataset.from_dict(rows, features=features))
    )
    examples = loading.load_examples(source, "test", processor, model.config)
    loading.check(source, model, processor, examples)
    for number, picture in enumerate((given["gray"].convert("RGB"), rgb, given["palette"].convert("RGB"), rgb)):
        own = processor(images=picture, return_tensors="np")["pixel_values"][0]
        assert np.allclose(examples[number]["pixel_values"], own), list(given)[number]


def encoded(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "png")
    return out.getvalue()


def test_a_processor_in_one_file_is_read(tmp_path: Path) -> None:
    path = write_zero_shot(tmp_path)
    (tmp_path / "model" / "preprocessor_config.json").unlink()
    transformers.CLIPProcessor(image_processor(), tokenizer()).save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model" / "preprocessor_config.json").exists()
    _, processor, _ = opened(path)
    own = image_processor()(images=pictures(2, 3)[0], return_tensors="np")["pixel_values"]
    assert np.allclose(processor(images=pictures(2, 3)[0], return_tensors="np")["pixel_values"], own)


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("CLIPModel", "clip", TASK.name),
        ("SiglipModel", "siglip", TASK.name),
        ("ChineseCLIPModel", "chinese_clip", None),
        ("AltCLIPModel", "altclip", None),
    ],
)
def test_the_task_is_that_of_models_with_both_towers(name: str, kind: str, expected: str | None) -> None:
    assert task_of_class(name, {"model_type": kind}) == expected


def test_init_writes_a_workload_that_loads(tmp_path: Path) -> None:
    folder, data = write_towers(tmp_path / "model"), write_colours(tmp_path / "data")
    text = init(str(folder), str(data), TASK.name)
    assert 'templates: ["a photo of a {}."]' in text and "max_length" not in text
    (tmp_path / "mine.yaml").write_text(text)
    assert Workload.load(tmp_path / "mine.yaml").templates == ("a photo of a {}.",)
    assert task_of_folder(str(folder)) == TASK.name


def test_cosines_do_not_depend_on_the_lengths_of_image_embeddings() -> None:
    classes = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    assert torch.allclose(cosines(torch.tensor([[3.0, 4.0], [0.3, 0.4]]), classes), torch.tensor([[0.6, 1.0]] * 2))
