"""Segmentation: counts of pixels against the field's definition, ids as files store them, and refused annotations."""

import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from compress.analysis import accuracy, metrics
from compress.base.config import InputError
from compress.data.tasks import image_segmentation as segmentation
from compress.data.tasks import task_of
from compress.data.workload import Workload
from tests.pictured import NONE, segmented, segmenter, segmenter_processor

TASK = task_of("image-segmentation")
WORKLOAD = Workload.model_validate(
    {"task": TASK.name, "model": "m", "dataset": {"path": "d", "label": "annotation"}, "name": "w"}
)


def prepared(rows: Any, processor: Any = None, training: bool = False) -> Any:
    workload = WORKLOAD.of_training if training else WORKLOAD
    return TASK.prepare(rows, processor or segmenter_processor(), workload, segmenter().config)


def checks(rows: Any, processor: Any = None) -> list[str]:
    processor = processor or segmenter_processor()
    return TASK.check(segmenter(), processor, prepared(rows, processor), WORKLOAD)


def counted(gold: list[Any], ids: list[Any], classes: int) -> dict[str, list[float]]:
    """The outcomes of predicted ids: their logits have the annotation's size, so upsampling changes nothing."""
    found: dict[str, list[float]] = {}
    for theirs, ours in zip(gold, ids, strict=True):
        labels = np.where(np.asarray(theirs) == NONE, segmentation.IGNORED, theirs)
        logits = torch.nn.functional.one_hot(torch.tensor(ours), classes).permute(2, 0, 1).float()
        for name, values in TASK.outcomes(logits[None], {"labels": torch.tensor(labels)[None]}).items():
            found.setdefault(name, []).extend(values)
    return found


def mean_iou(gold: list[Any], ids: list[Any], classes: int) -> float:
    """The mean over classes of |A and B| / |A or B|, of the pixels of all pictures in a row."""
    theirs, ours = (np.concatenate([np.ravel(each) for each in side]) for side in (gold, ids))
    ours, theirs = ours[theirs != NONE], theirs[theirs != NONE]
    ratios = []
    for each in range(classes):
        if either := ((ours == each) | (theirs == each)).sum():
            ratios.append(((ours == each) & (theirs == each)).sum() / either)
    return float(np.mean(ratios))


def test_intersections_and_unions_are_summed_over_pictures() -> None:
    """As a mean over pictures, the same two would give 0.6875."""
    gold, ids = [[[0, 0, 0, 1, NONE]], [[0, 0, 0, 0, 0]]], [[[0] * 5], [[0] * 5]]
    found = metrics.compute("mean_iou", counted(gold, ids, 2))
    assert found == pytest.approx(0.4444, abs=1e-4) == mean_iou(gold, ids, 2)


def test_any_split_and_resample_has_the_mean_of_its_own_pixels() -> None:
    draw = np.random.default_rng(3)
    shapes = [(int(h), int(w)) for h, w in draw.integers(3, 9, (12, 2))]
    gold = [draw.choice([0, 1, 3, NONE], shape) for shape in shapes]
    ids = [draw.choice([0, 1, 2], shape) for shape in shapes]
    outcomes = counted(gold, ids, 5)  # class 4 occurs nowhere, class 2 only in predictions
    assert metrics.compute("mean_iou", outcomes) == pytest.approx(mean_iou(gold, ids, 5), abs=1e-12)
    chosen = [7, 7, 2, 0, 11]
    score = metrics.resampler("mean_iou", outcomes, {})
    drawn = score({name: np.array(values)[chosen] for name, values in outcomes.items()})
    assert drawn == pytest.approx(mean_iou([gold[i] for i in chosen], [ids[i] for i in chosen], 5), abs=1e-12)


def test_chance_is_the_most_frequent_class_for_every_pixel() -> None:
    gold, ids = [np.array([[0, 0, 1]]), np.array([[0, 2, NONE]])], [np.array([[0, 0, 1]]), np.array([[1, 2, 0]])]
    evaluation = accuracy.Evaluation(counted(gold, ids, 3), finite=True, batch_size=2)
    found = accuracy.summarise(evaluation, "mean_iou", None, None, seed=0)
    assert found.chance == pytest.approx(mean_iou(gold, [np.zeros((1, 3), int)] * 2, 3))
    assert found.estimate.value == pytest.approx(mean_iou(gold, ids, 3))


def test_pixels_are_judged_at_the_size_of_the_annotation() -> None:
    """Each picture alone, by transformers' own way from logits to ids, whatever pictures share its batch."""
    model, examples = segmenter(), prepared(segmented(5, 3))
    batch = TASK.collate([examples[i] for i in range(5)], None)
    with torch.no_grad():
        output = model(pixel_values=batch["pixel_values"])
    outcomes = TASK.outcomes(output.logits, batch)
    sizes = [picture.size[::-1] for picture in segmented(5, 3)["image"]]
    maps = segmenter_processor().post_process_semantic_segmentation(output, target_sizes=sizes)
    gold = [np.asarray(each) for each in segmented(5, 3)["annotation"]]
    assert len(set(sizes)) > 1
    for row, (theirs, ours) in enumerate(zip(gold, maps, strict=True)):
        for each in range(3):
            judged = theirs != NONE
            shared = ((ours.numpy() == each) & (theirs == each) & judged).sum()
            either = (((ours.numpy() == each) | (theirs == each)) & judged).sum()
            assert (outcomes[f"intersection_{each}"][row], outcomes[f"union_{each}"][row]) == (shared, either)


def test_classes_are_upsampled_in_parts_with_the_same_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(7, 4, 5, generator=torch.Generator().manual_seed(0))
    whole = segmentation.predicted(logits, (9, 11))
    monkeypatch.setattr(segmentation, "MOST_VALUES", 2 * 9 * 11)
    assert torch.equal(segmentation.predicted(logits, (9, 11)), whole)


def test_a_loss_is_that_of_the_model_itself() -> None:
    model, examples = segmenter(), prepared(segmented(4, 3), training=True)
    batch = TASK.collate([examples[i] for i in range(4)], None)
    assert batch["labels"].shape == (4, 32, 32)
    with torch.no_grad():
        output = model(
            pixel_values=batch["pixel_values"], labels=torch.where(batch["labels"] < 0, NONE, batch["labels"])
        )
    sums, counts = TASK.losses(output.logits, batch["labels"])
    assert float(sums.sum() / counts.sum()) == pytest.approx(float(output.loss), rel=1e-5)


def png(image: Any, form: str = "PNG") -> dict[str, Any]:
    out = io.BytesIO()
    image.save(out, form)
    return {"bytes": out.getvalue(), "path": None}


def rows_with(annotation: Any, form: str = "PNG", picture: Any = None) -> Any:
    """A picture of 4 x 6, and another annotation in the second row of two."""
    import datasets

    grey = Image.fromarray(np.zeros((4, 6), np.uint8))
    columns = {
        "image": [png(picture or grey), png(picture or grey)],
        "annotation": [png(grey), png(annotation, form)],
    }
    features = datasets.Features({"image": datasets.Image(), "annotation": datasets.Image()})
    return datasets.Dataset.from_dict(columns, features=features)


IDS = np.array([[0, 1, 2, 0, 1, 255]] * 4, np.uint8)


def palette() -> Any:
    image = Image.fromarray(IDS, "P")
    image.putpalette([value for number in range(256) for value in (255 - number, number // 2, 7)])
    return image


@pytest.mark.parametrize("kind", ["grey", "palette", "16 bits"])
def test_ids_are_what_the_file_stores_not_its_colours(kind: str) -> None:
    stored = {"grey": Image.fromarray(IDS), "palette": palette(), "16 bits": Image.fromarray(IDS.astype(np.uint16))}
    labels = np.asarray(prepared(rows_with(stored[kind]))[1]["labels"])
    assert (labels == np.where(IDS == NONE, segmentation.IGNORED, IDS.astype(int))).all()


def test_reduced_labels_count_from_one_and_zero_is_not_judged() -> None:
    processor = segmenter_processor(do_reduce_labels=True)
    examples = prepared(rows_with(Image.fromarray(IDS + (IDS == 2))), processor)
    assert np.asarray(examples[1]["labels"])[0].tolist() == [-100, 0, 2, -100, 0, -100]
    assert "count from 1" in examples.info.description


@pytest.mark.parametrize("mode", ["RGBA", "L", "P", "LA"])
def test_pictures_of_any_mode_have_three_channels(mode: str) -> None:
    colours = Image.fromarray(np.full((4, 6, 3), (200, 100, 50), np.uint8)).convert(mode)
    assert np.asarray(prepared(rows_with(Image.fromarray(IDS), picture=colours))[0]["pixel_values"]).shape == (
        3,
        32,
        32,
    )


BAD = {
    "colours": (Image.new("RGB", (6, 4)), "PNG", "row 1: label column 'annotation' has pixels of mode RGB; expected a"),
    "jpeg": (Image.new("L", (6, 4)), "JPEG", "row 1: .* has a jpeg, which changes ids"),
    "size": (Image.new("L", (4, 6)), "PNG", r"row 1: .* has 6 x 4 pixels \(height x width\), but the picture 4 x 6"),
}


@pytest.mark.parametrize("kind", BAD)
def test_annotations_without_an_id_for_every_pixel_are_refused_by_row(kind: str) -> None:
    annotation, form, expected = BAD[kind]
    with pytest.raises(InputError, match=expected):
        prepared(rows_with(annotation, form))


def test_ids_without_a_class_are_refused_by_row() -> None:
    rows = rows_with(Image.fromarray(np.where(IDS == 2, 9, IDS).astype(np.uint8)))
    expected = (
        "row 1: label column 'annotation' has the ids 9; expected those of the model's 3 classes, 0 to 2, or 255 for "
        "pixels without a class"
    )
    assert checks(rows) == [expected]
    with pytest.raises(InputError, match="has the ids 9"):
        prepared(rows, training=True)[1]


def test_what_is_not_a_picture_of_ids_is_refused() -> None:
    import datasets

    rows = datasets.Dataset.from_dict({"image": [Image.new("RGB", (4, 4))], "annotation": [1]})
    with pytest.raises(InputError, match="label column 'annotation' holds no pictures; expected a png"):
        prepared(rows)
    with pytest.raises(InputError, match="label column 'annotation': row 1 is not a readable picture"):
        damaged = rows_with(Image.fromarray(IDS)).cast_column("annotation", datasets.Image(decode=False)).to_dict()
        damaged["annotation"][1]["bytes"] = b"not a picture"
        prepared(datasets.Dataset.from_dict(damaged).cast_column("annotation", datasets.Image()))
    none = Image.fromarray(np.full((4, 6), NONE, np.uint8))
    rows = rows_with(none)
    assert checks(rows.select([1])) == [
        "label column 'annotation': no pixel of any annotation has a class; expected some"
    ]


PARTS = {
    "crops": (SimpleNamespace(do_center_crop=True), "its image processor crops pictures"),
    "keeps sizes": (SimpleNamespace(size={"shortest_edge": 32}), "gives pictures of different sizes; write one size"),
}


@pytest.mark.parametrize("kind", PARTS)
def test_a_processor_that_shows_the_model_parts_or_several_sizes_is_refused(kind: str) -> None:
    processor, expected = PARTS[kind]
    (problem,) = TASK.check(segmenter(), processor, None, WORKLOAD)  # type: ignore[arg-type]
    assert expected in problem
