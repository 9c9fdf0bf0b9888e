"""Zero-shot image classification: what gives no texts, or no embeddings of them, is refused with the reason."""

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
from compress.data import loading, locate
from compress.data.tasks import task_of
from compress.data.workload import Workload
from compress.data.zero_shot.model import ZERO_SHOT_CLASSIFIER
from compress.harness.transform import task_of_model
from tests.zero_shot import COLOURS, opened, table, tokenizer, two_towers, write_zero_shot

TASK = task_of("zero-shot-image-classification")


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
    "template twice": ({"templates": ["a {}", "the {}", "a {}"]}, "'a {}' occurs twice; expected every template once"),
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
    assert "write numbers, or name the classes as the data does (classes in the workload)" in str(caught.value)
    assert "config.json" not in str(caught.value)


def test_pictures_for_labels_are_refused_without_their_bytes(tmp_path: Path) -> None:
    path = write_zero_shot(tmp_path, classes=list(COLOURS), dataset={"image": "label", "label": "image"})
    model, processor, source = opened(path)
    with pytest.raises(InputError, match=r"label column 'image', row 0: .* is neither a number nor a label") as caught:
        loading.load_examples(source, "test", processor, model.config)
    assert len(str(caught.value)) < 200


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


def test_a_model_that_was_made_for_other_classes_is_refused(tmp_path: Path) -> None:
    _, _, source = opened(write_zero_shot(tmp_path))
    model, *_ = opened(write_zero_shot(tmp_path, model=source.model))
    assert model.config.id2label[0] == "red"
    with pytest.raises(InputError, match=r"was made for the classes red, green, blue; remove classes from"):
        opened(write_zero_shot(tmp_path, classes=["red", "blue", "green"], model=source.model))
    with pytest.raises(InputError, match=r"was made for the templates a photo of a \{\}\., .*; remove templates from"):
        opened(write_zero_shot(tmp_path, templates=["a {}"], model=source.model))


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


def test_a_model_in_memory_needs_its_classes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"CLIPModel: its classes are not known; save it with its processor"):
        task_of_model(two_towers())
    model, *_ = opened(write_zero_shot(tmp_path))
    assert task_of_model(model) == TASK.name


def test_a_model_of_another_kind_is_refused() -> None:
    with pytest.raises(InputError, match=r"is a bert; expected a model of pictures and texts: clip, siglip"):
        ZERO_SHOT_CLASSIFIER.from_config(transformers.BertConfig())


def test_a_student_that_was_made_for_other_texts_is_refused(tmp_path: Path) -> None:
    model, *_ = opened(write_zero_shot(tmp_path))
    assert TASK.derive_like is not None
    same = locate.resolve(Workload.load(write_zero_shot(tmp_path)))
    assert TASK.derive_like(Path(same.model), "model other", model.config) == Path(same.model)
    for what, changes in {
        "templates": {"templates": ["a {}"]},
        "classes": {"classes": ["red", "blue", "green"], "dataset": {"labels": "ids"}},
    }.items():
        other = locate.resolve(Workload.load(write_zero_shot(tmp_path, **changes)))
        with pytest.raises(InputError, match=rf"model other: has no text tower.*; expected the teacher's {what}: give"):
            TASK.derive_like(Path(other.model), "model other", model.config)


def test_classes_whose_texts_are_the_same_tokens_are_refused(tmp_path: Path) -> None:
    path = write_zero_shot(tmp_path, classes=["red", "turquoise", "magenta"], dataset={"labels": "ids"})
    with pytest.raises(InputError, match=r"classes 'turquoise' and 'magenta' are the same text for its tokenizer"):
        opened(path)
    with pytest.raises(InputError, match=r"classes 'the_red' and 'the red' are the same text for its tokenizer"):
        opened(write_zero_shot(tmp_path, classes=["the_red", "the red", "blue"], dataset={"labels": "ids"}))


def test_a_tokenizer_that_cannot_pad_is_refused(tmp_path: Path) -> None:
    path = write_zero_shot(tmp_path)
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer().backend_tokenizer).save_pretrained(
        tmp_path / "model"
    )
    with pytest.raises(InputError, match=r"tokenizer of its text tower cannot be loaded .*it has no padding token"):
        opened(path)


def test_two_towers_of_another_kind_are_refused_with_the_kinds_that_are_read(tmp_path: Path) -> None:
    path = write_zero_shot(tmp_path)
    file = tmp_path / "model" / "config.json"
    changed = {**json.loads(file.read_text()), "model_type": "chinese_clip", "architectures": ["ChineseCLIPModel"]}
    file.write_text(json.dumps(changed))
    with pytest.raises(InputError, match=r"is a chinese_clip; expected a model of pictures and texts: clip, siglip"):
        opened(path)
