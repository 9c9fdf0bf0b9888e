"""Zero-shot image classification: logits by transformers' own models, classes and templates, and bad input."""

import io
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from compress.base.config import InputError
from compress.cli.questions import task_of_folder
from compress.data import loading, locate
from compress.data.source import Source
from compress.data.tasks import task_of, task_of_class
from compress.data.template import init
from compress.data.workload import Workload
from compress.data.zero_shot.model import ZeroShotClassifier, cosines
from compress.harness.transform import task_of_model
from compress.measure.evaluate import evaluate
from tests.zero_shot import (
    COLOURS,
    TEMPLATES,
    image_processor,
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


def opened(path: Path) -> tuple[Any, Any, Source]:
    source = locate.resolve(Workload.load(path))
    model, processor = loading.load_model(source)
    return model, processor, source


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
    assert "3 classes x 3 templates ('a photo of a {}.', " in found.remark
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


def test_pixels_of_an_unknown_range_are_refused(tmp_path: Path) -> None:
    path = write_zero_shot(tmp_path, dataset={"train": None})
    (tmp_path / "data" / "test.parquet").unlink()
    for name in COLOURS:
        (tmp_path / "data" / "test" / name).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8), dtype=np.float32)).save(tmp_path / "data" / "test" / name / "a.tiff")
    model, processor, source = opened(path)
    with pytest.raises(InputError, match=r"row 0 .* has pixels of mode F with an unknown range"):
        loading.load_examples(source, "test", processor, model.config)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no placeholder": ({"templates": ["a {}", "a photo"]}, "'a photo': expected one {} for the class name"),
    "two placeholders": ({"templates": ["{} or {}"]}, "'{} or {}': expected one {} for the class name"),
    "no templates": ({"templates": []}, "no templates; expected texts such as"),
    "one class": ({"classes": ["red"]}, "1 names; expected the names of two or more classes"),
    "blank class": ({"classes": ["red", " "]}, "an empty name; expected the name of every class"),
    "twice": ({"classes": ["red", "blue", "red"]}, "'red' occurs twice"),
    "other task": ({"task": "image-classification"}, "image-classification has no such setting; only zero-shot-image"),
}


@pytest.mark.parametrize("kind", BAD)
def test_settings_that_make_no_texts_are_refused(kind: str) -> None:
    changes, expected = BAD[kind]
    fields = {"task": TASK.name, "model": "m", "dataset": {"path": "d"}, "templates": ["a {}"], **changes}
    with pytest.raises(ValueError) as caught:
        Workload.model_validate(fields)
    assert expected in str(caught.value)


def without(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).unlink()


def test_numbers_without_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"label column 'label': holds 0, 1, 2; numbers are no names.* set classes in"):
        opened(write_zero_shot(tmp_path, test=table(12, 2, named=False)))


def test_another_number_of_names_than_the_data_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"classes: 2 names, but the data has 3 \(red, green, blue\)"):
        opened(write_zero_shot(tmp_path, classes=["red", "green"]))


def test_a_label_without_a_class_is_refused(tmp_path: Path) -> None:
    rows = {"image": table(3, 2)["image"], "label": ["red", "blue", "pink"]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    test = datasets.Dataset.from_dict(rows, features=features)
    model, processor, source = opened(write_zero_shot(tmp_path, test=test, classes=list(COLOURS)))
    with pytest.raises(InputError) as caught:
        loading.load_examples(source, "test", processor, model.config)
    assert "label column 'label': 'pink' is neither a number nor a label of the model" in str(caught.value)
    assert "classes in the workload" in str(caught.value)


def test_a_number_beyond_the_classes_is_refused(tmp_path: Path) -> None:
    path = write_zero_shot(tmp_path, test=table(12, 2, named=False), classes=["red", "green"])
    model, processor, source = opened(path)
    with pytest.raises(InputError, match=r"label 2, but the model has 2 labels \(0 to 1\)"):
        loading.load_examples(source, "test", processor, model.config)


def test_a_missing_tokenizer_is_refused(tmp_path: Path) -> None:
    path = write_zero_shot(tmp_path)
    without(tmp_path / "model", "tokenizer.json", "tokenizer_config.json")
    with pytest.raises(InputError, match=r"tokenizer of its text tower cannot be loaded .*save it beside the model"):
        opened(path)


def test_a_missing_image_processor_is_refused(tmp_path: Path) -> None:
    path = write_zero_shot(tmp_path)
    without(tmp_path / "model", "preprocessor_config.json")
    with pytest.raises(InputError, match=r"its image processor cannot be loaded .*save it beside the model"):
        opened(path)


def test_a_model_without_its_text_tower_is_refused(tmp_path: Path) -> None:
    path = write_zero_shot(tmp_path)
    whole = two_towers()
    state = {name: each for name, each in whole.state_dict().items() if not name.startswith("text_projection")}
    whole.save_pretrained(tmp_path / "model", state_dict=state)
    with pytest.raises(InputError, match=r"has no weights for text_projection\.weight, which would be random"):
        opened(path)


def test_a_damaged_text_tower_is_refused(tmp_path: Path) -> None:
    whole = two_towers()
    torch.nn.init.constant_(whole.text_projection.weight, float("nan"))
    with pytest.raises(InputError, match=r"embeddings of its class names are not finite"):
        opened(write_zero_shot(tmp_path, whole=whole))


def test_a_text_longer_than_its_tower_reads_is_refused(tmp_path: Path) -> None:
    long = "a photo of the the the the the the the {}"
    with pytest.raises(InputError, match=r"has 13 tokens, and its text tower reads 12; shorten the template"):
        opened(write_zero_shot(tmp_path, templates=[long]))


def test_a_foreign_tokenizer_is_refused(tmp_path: Path) -> None:
    whole = transformers.CLIPModel(
        transformers.CLIPConfig.from_dict({**two_towers().config.to_dict(), "text_config": {
            **two_towers().config.text_config.to_dict(), "vocab_size": 12}})
    )  # fmt: skip
    with pytest.raises(InputError, match=r"its text tower knows 12 tokens, but its tokenizer gave token 12"):
        opened(write_zero_shot(tmp_path, whole=whole))


def test_a_processor_in_one_file_is_read(tmp_path: Path) -> None:
    path = write_zero_shot(tmp_path)
    without(tmp_path / "model", "preprocessor_config.json")
    transformers.CLIPProcessor(image_processor(), tokenizer()).save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model" / "preprocessor_config.json").exists()
    _, processor, _ = opened(path)
    own = image_processor()(images=pictures(2, 3)[0], return_tensors="np")["pixel_values"]
    assert np.allclose(processor(images=pictures(2, 3)[0], return_tensors="np")["pixel_values"], own)


def test_a_model_that_was_made_for_other_classes_is_refused(tmp_path: Path) -> None:
    _, _, source = opened(write_zero_shot(tmp_path))
    model, *_ = opened(write_zero_shot(tmp_path, model=source.model))
    assert model.config.id2label[0] == "red"
    with pytest.raises(InputError, match=r"was made for the classes red, green, blue; remove classes from"):
        opened(write_zero_shot(tmp_path, classes=["red", "blue", "green"], model=source.model))


def test_pickled_weights_are_refused_with_their_conversion(tmp_path: Path) -> None:
    path = write_zero_shot(tmp_path)
    without(tmp_path / "model", "model.safetensors")
    torch.save(two_towers().state_dict(), tmp_path / "model" / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"AutoModelForZeroShotImageClassification.*AutoProcessor"):
        opened(path)


def test_adapters_are_refused(tmp_path: Path) -> None:
    path = write_zero_shot(tmp_path)
    without(tmp_path / "model", "model.safetensors", "config.json")
    (tmp_path / "model" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "base"}))
    with pytest.raises(InputError, match=r"is an adapter, which zero-shot-image-classification does not read"):
        opened(path)


def test_a_model_whose_pictures_have_no_embedding_is_refused(tmp_path: Path) -> None:
    config = two_towers("siglip").config
    config.vision_config.vision_use_head = False
    with pytest.raises(InputError, match=r"vision_use_head: false, so pictures have no embedding"):
        opened(write_zero_shot(tmp_path, "siglip", transformers.SiglipModel(config)))


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


def test_a_model_in_memory_needs_its_classes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"CLIPModel: its classes are not known; save it with its processor"):
        task_of_model(two_towers())
    model, *_ = opened(write_zero_shot(tmp_path))
    assert task_of_model(model) == TASK.name


def test_a_model_of_another_kind_is_refused() -> None:
    with pytest.raises(InputError, match=r"is a bert; expected a model of pictures and texts: clip, siglip"):
        ZeroShotClassifier.from_config(transformers.BertConfig())


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
