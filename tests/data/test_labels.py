"""What a label means is never guessed: names by name, ids by number, whatever type a reader made of them."""

from types import SimpleNamespace
from typing import Any

import datasets
import pytest

from compress.base.config import InputError
from compress.data.formats.image_folders import CLASS_FOLDERS
from compress.data.tasks import labels

TENCH, CRANE = "tench, Tinca tinca", "crane"
IMAGENET = [TENCH, "goldfish, Carassius auratus", "maillot", "maillot, tank suit", "city bus", CRANE, CRANE]


def model(*names: str) -> Any:
    return SimpleNamespace(id2label=dict(enumerate(names)))


def read(values: list[Any], *names: str, classes: list[str] | None = None, folders: bool = False, **how: Any) -> Any:
    feature = datasets.ClassLabel(names=classes) if classes else None
    raw = datasets.Dataset.from_dict(
        {"label": values}, features=datasets.Features({"label": feature}) if feature else None
    )
    if folders:
        raw.info.builder_name = CLASS_FOLDERS
    return labels.read(raw, "label", model(*names), how.get("reading"))


UNNAMED = ("LABEL_0", "LABEL_1", "LABEL_2")


STARS = ("1 star", "2 stars", "3 stars", "4 stars", "5 stars")
CITIES = ("Paris, France", "Berlin, Germany", "Albany, NY")


@pytest.mark.parametrize(
    ("values", "names", "expected"),
    [
        (["dog", "cat"], ("bird", "cat", "dog"), [2, 1]),
        (["City_Bus", "city-bus", "CITY  BUS"], ("car", "city bus"), [1, 1, 1]),
        (["LABEL_2", "label 0"], UNNAMED, [2, 0]),
        (["tench", "Tinca tinca", "goldfish", TENCH, "tank suit"], IMAGENET, [0, 0, 1, 0, 3]),
        (["maillot, tank suit", "maillot"], IMAGENET, [3, 2]),
        (["US", "us"], ("us", "US"), [1, 0]),
        ([0, 2, 1], UNNAMED, [0, 2, 1]),
        (["0", " 2 ", "01", "1.0"], UNNAMED, [0, 2, 1, 1]),
        ([0.0, 2.0], UNNAMED, [0, 2]),
        ([True, False], ("LABEL_0", "LABEL_1"), [1, 0]),
        (["True", "false"], ("LABEL_0", "LABEL_1"), [1, 0]),
        ([True, False], ("True", "False"), [0, 1]),
        (["true", "FALSE"], ("True", "False"), [0, 1]),
        ([False, True], ("0", "1"), [0, 1]),
        ([1, 0, 4], STARS, [1, 0, 4]),
        (["5 stars", "1 star"], STARS, [4, 0]),
        ([1, 2], ("0 stars", "1 star", "2 stars"), [1, 2]),
        ([1, 2], ("a 1 of 2", "a 2 of 2", "none"), [1, 2]),
        (["Paris", "Berlin, Germany", "germany, berlin"], CITIES, [0, 1, 1]),
        ([3, 1], ("0", "1", "2", "3"), [3, 1]),
        ([5, 1], ("1", "2", "3", "4", "5"), [4, 0]),
        ([0, 4, 1], ("1", "2", "3", "4", "5"), [0, 4, 1]),
        ([-1, 0, 1], ("-1", "0", "1"), [0, 1, 2]),
        (["01", "02"], ("01", "02"), [0, 1]),
        ([1, 2], ("01", "02"), [0, 1]),
        (["1.0", "2.0"], ("1.0", "2.0"), [0, 1]),
        ([0, 1], ("negative", "positive"), [0, 1]),
    ],
)  # fmt: skip
def test_labels_have_one_meaning_whatever_split_or_type_they_come_in(
    values: list[Any], names: tuple[str, ...], expected: list[int]
) -> None:
    assert read(values, *names).ids == expected


FORMS: list[list[Any]] = [[1, 0], ["1", "0"], [1.0, 0.0], [True, False], ["1.0", "0.0"], ["True", "False"], [1]]


@pytest.mark.parametrize("values", FORMS)
def test_numbers_that_are_ids_and_names_of_other_classes_are_refused_until_it_is_said(values: list[Any]) -> None:
    with pytest.raises(InputError, match=r"ids of the model and also names .*dataset.labels to ids or names"):
        read(values, "1", "0")
    assert read(values, "1", "0", reading="ids").ids == [1, 0][: len(values)]
    assert read(values, "1", "0", reading="names").ids == [0, 1][: len(values)]


@pytest.mark.parametrize(
    ("values", "names", "said"),
    [
        (["cat", "wolf"], ("bird", "cat"), "'wolf' is neither .*; the data has cat, wolf, the model bird, cat"),
        (["cat", "dog"], UNNAMED, r"'cat' is neither .*name the classes in the model's config.json"),
        (["cat, dog", "cat"], ("cat", "dog"), r"'cat, dog' is neither"),
        (["cat, tiger", "dog"], ("cat", "dog"), r"'cat, tiger' is neither"),
        (["Lyon, France", "Berlin, Germany"], CITIES, r"'Lyon, France' is neither"),
        (["New York, NY"], CITIES, r"'New York, NY' is neither"),
        (["Springfield"], ("Springfield, OH", "Springfield, IL"), r"'Springfield' names several classes"),
        (["cat", ","], ("cat", "dog"), r"',' is neither"),
        ([1, 2, 3, 4], STARS, r"1, 2, 3, 4 are ids of the model and also numbers in names .*set dataset.labels to ids"),
        (["1", "4.0"], STARS, "numbers in names"),
        ([0, 1], ("-1 (bad)", "0 (neutral)", "1 (good)"), "numbers in names"),
        ([1, 2], ("LABEL_1", "LABEL_2", "LABEL_3"), "numbers in names"),
        (["crane"], IMAGENET, r"'crane' names several classes of the model: crane \(5\) and crane \(6\)"),
        (["maillot"], IMAGENET, r"'maillot' names several classes"),
        (["Us"], ("us", "US"), "'Us' names several classes"),
        ([0, 1, 3], UNNAMED, r"label 3, but the model has 3 labels \(0 to 2\)"),
        ([0, -1], UNNAMED, "hidden labels"),
        ([0.5, 1.0], UNNAMED, "0.5 is neither"),
        (["cat", "1"], ("bird", "cat"), "'1' is neither"),
        (["", "cat"], ("bird", "cat"), "'' is neither"),
        ([True, False], UNNAMED, "True is neither"),
        (["٣"], UNNAMED, "neither"),
        ([float("nan"), 1.0], UNNAMED, "row 0: nan is neither"),
    ],
)  # fmt: skip
def test_labels_that_do_not_map_are_one_error_with_both_sides(
    values: list[Any], names: tuple[str, ...], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        read(values, *names)


def test_numbers_in_names_of_other_classes_may_be_ids_when_it_is_said() -> None:
    assert read([1, 4], *STARS, reading="ids").ids == [1, 4]
    assert read([1, 4], *STARS, classes=["0", "1", "2", "3", "4"], reading="ids").ids == [1, 4]
    with pytest.raises(InputError, match="numbers in names"):
        read([1, 4], *STARS, classes=["0", "1", "2", "3", "4"])


@pytest.mark.parametrize("values", [[True, False], ["True", "FALSE"], [True]])
@pytest.mark.parametrize("names", [("POSITIVE", "NEGATIVE"), ("yes", "no"), ("no", "yes"), ("1 star", "2 stars")])
def test_true_and_false_are_ids_of_named_classes_only_when_it_is_said(
    values: list[Any], names: tuple[str, str]
) -> None:
    with pytest.raises(InputError, match=f"set dataset.labels to ids if true is {names[1]} and false is {names[0]}"):
        read(values, *names)
    assert read(values, *names, reading="ids").ids == [1, 0][: len(values)]
    assert "true is read as class 1" in read(values, "LABEL_0", "LABEL_1").note


def test_names_that_contradict_their_ids_are_refused() -> None:
    raw = datasets.Dataset.from_dict({"label": [0, 1]})
    config = SimpleNamespace(id2label={0: "0", 1: "1"}, label2id={"0": 1, "1": 0})
    with pytest.raises(InputError, match=r"label2id has '0' as class 1, id2label names it '1'; correct config.json"):
        labels.read(raw, "label", config)
    assert labels.read(raw, "label", config, "ids").ids == [0, 1]
    for label2id in ({"0": 0, "1": 1}, {"LABEL_0": 0, "LABEL_1": 1}, None):
        config = SimpleNamespace(id2label={0: "0", 1: "1"}, label2id=label2id)
        assert labels.read(raw, "label", config).ids == [0, 1]


def test_ids_are_offered_where_the_names_of_the_data_are_other_ones() -> None:
    with pytest.raises(
        InputError, match=r"set dataset.labels to ids if both have the same order \(neg is NEGATIVE, pos is POSITIVE\)"
    ):
        read([0, 1], "NEGATIVE", "POSITIVE", classes=["neg", "pos"])
    assert read([0, 1], "NEGATIVE", "POSITIVE", classes=["neg", "pos"], reading="ids").ids == [0, 1]


def test_names_that_a_data_set_gives_to_its_ids_decide() -> None:
    assert read([0, 1, 1], "dog", "city bus", "cat", classes=["cat", "city_bus", "dog"]).ids == [2, 1, 1]
    assert read([0, 0], "dog", "cat", classes=["cat", "dog", "a class of the train split"]).ids == [1, 1]
    assert read([1, 0], "1", "0", classes=["0x", "1"], reading="ids").ids == [1, 0]
    assert read([0, 1], "crane", "crane", classes=["crane", "Crane"]).ids == [0, 1]
    assert read([1], "maillot", "maillot, tank suit", classes=["maillot, tank suit", "maillot"]).ids == [0]
    with pytest.raises(InputError, match=r"'wolf' is neither .*the data has cat, wolf, the model dog, cat"):
        read([1, 0], "dog", "cat", classes=["cat", "wolf"])
    with pytest.raises(InputError, match="hidden labels"):
        read([-1, 0], "dog", "cat", classes=["cat", "dog"])


def test_without_names_of_the_model_the_order_of_the_data_counts_and_is_noted() -> None:
    found = read([0, 1], "LABEL_0", "LABEL_1", classes=["neg", "pos"])
    assert (found.ids, found.note) == (
        [0, 1],
        "the model does not name its classes; the data's classes are used in order: neg, pos",
    )
    for classes in (["neg", "pos", "neutral"], ["1", "0"]):
        with pytest.raises(
            InputError, match=r"name the classes .* or set dataset.labels to ids if both have the same order"
        ):
            read([0, 1], "LABEL_0", "LABEL_1", classes=classes)
        assert read([0, 1], "LABEL_0", "LABEL_1", classes=classes, reading="ids").ids == [0, 1]
    assert read([0, 1], "LABEL_0", "LABEL_1", classes=["0", "1"]) == labels.Labels([0, 1])
    assert read([0, 1], "LABEL_0", "LABEL_1", classes=["LABEL_1", "LABEL_0"]).ids == [1, 0]
    with pytest.raises(InputError, match="ids of the model and also names"):
        read([0, 1], "1", "0", classes=["0", "1"])


def test_class_folders_are_names_also_where_they_are_digits() -> None:
    assert read(["1", "0"], "1", "0", folders=True).ids == [0, 1]
    assert read(["10", "2"], *map(str, range(11)), folders=True).ids == [10, 2]
    assert read(["10", "2"], *(f"LABEL_{n}" for n in range(11)), folders=True).ids == [10, 2]
    with pytest.raises(InputError, match=r"name the classes in the model's config\.json"):
        read(["cat", "dog"], "LABEL_0", "LABEL_1", folders=True)


def test_ids_beyond_the_names_of_the_data_are_refused_with_row_and_id() -> None:
    features = datasets.Features({"label": datasets.ClassLabel(names=["bad"])})
    table = datasets.Dataset.from_dict({"label": [0, 0, 1]}).data.table.cast(features.arrow_schema)
    raw = datasets.Dataset(table, info=datasets.DatasetInfo(features=features))
    with pytest.raises(InputError, match=r"'label', row 2: id 1, but the data's metadata names 1 classes \(bad\)"):
        labels.read(raw, "label", SimpleNamespace(id2label={0: "bad", 1: "good"}))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"label2id": ["bad", "good"]}, "config.json label2id: a list; expected a mapping of class names to numbers"),
        ({"label2id": "bad"}, "config.json label2id: a str; expected"),
        ({"id2label": ["bad", "good"]}, "config.json id2label: a list; expected a mapping"),
        ({"id2label": {0: "bad", 2: "good"}}, "config.json id2label: 2 names, but none of number 1"),
        ({"id2label": {"a": "bad"}}, "config.json id2label: 1 names, but none of number 0"),
        ({"id2label": {0: "bad", 1: None}}, "config.json id2label: the name of number 1 is a NoneType"),
    ],
)
def test_a_configuration_whose_classes_are_no_mapping_is_refused(config: dict[str, Any], said: str) -> None:
    raw = datasets.Dataset.from_dict({"label": [0, 1]})
    whole = {"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}}
    assert labels.read(raw, "label", SimpleNamespace(**whole)).ids == [0, 1]
    with pytest.raises(InputError, match=said):
        labels.read(raw, "label", SimpleNamespace(**(whole | config)))


def test_names_that_only_look_equal_are_explained() -> None:
    raw = datasets.Dataset.from_dict({"caf\u00e9": ["cafe\u0301", "x"]})
    with pytest.raises(InputError, match=r"no label column .*look equal, but differ in Unicode normalization"):
        labels.read(raw, "cafe\u0301", model("caf\u00e9", "x"))
    with pytest.raises(InputError, match=r"look equal, but differ in Unicode normalization: 'cafe\\u0301' and"):
        labels.read(raw, "caf\u00e9", model("caf\u00e9", "x"))
