"""Detection: mAP against pycocotools, on splits and resamples; boxes and losses against transformers; bad objects."""

import contextlib
import io
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from compress.analysis import accuracy, metrics
from compress.base.config import InputError
from compress.data.tasks import boxes, object_detection, task_of
from compress.data.tasks.boxes import Found, Objects
from compress.data.workload import Workload
from compress.model.outputs import logits_of
from tests.pictured import KINDS, detected, detector, detector_processor

TASK = task_of("object-detection")
CLASSES = 4


def workload(**dataset: Any) -> Workload:
    return Workload.model_validate(
        {"task": TASK.name, "model": "m", "dataset": {"path": "d", "label": "objects", **dataset}, "name": "w"}
    )


def prepared(rows: Any, kind: str = "yolos", processor: Any = None, **dataset: Any) -> Any:
    processor = processor or detector_processor(kind)
    return TASK.prepare(rows, processor, workload(**dataset), detector(kind).config)


def coco(golds: Sequence[Objects], found: Sequence[Found]) -> float:
    """COCO's mAP by pycocotools alone, all of its steps."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    ids, annotations, results = itertools.count(1), [], []
    for picture, (gold, ours) in enumerate(zip(golds, found, strict=True)):
        for kind, box, crowd in zip(gold.classes, gold.boxes, gold.crowd, strict=True):
            area = box[2] * box[3]
            annotations.append(
                {"id": next(ids), "image_id": picture, "category_id": kind, "bbox": list(box), "area": area,
                 "iscrowd": crowd}
            )  # fmt: skip
        for score, kind, box in zip(ours.scores, ours.classes, ours.boxes, strict=True):
            results.append({"image_id": picture, "category_id": kind, "bbox": list(box), "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": picture} for picture in range(len(golds))],
            "annotations": annotations,
            "categories": [{"id": kind} for kind in range(CLASSES)],
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


def made(seed: int, pictures: int = 12) -> tuple[list[Objects], list[Found]]:
    """Objects of classes 0 to 2 with crowds, and boxes near some of them; class 3 is only found, scores repeat."""
    draw = np.random.default_rng(seed)
    golds, found = [], []
    for _ in range(pictures):
        count = int(draw.integers(0, 5))
        places = np.concatenate([draw.uniform(0, 60, (count, 2)), draw.uniform(10, 40, (count, 2))], axis=1)
        kinds = draw.integers(0, 3, count)
        golds.append(Objects(kinds.tolist(), places.tolist(), (draw.integers(0, 8, count) > 6).astype(int).tolist()))
        near = np.repeat(places, 3, axis=0) + draw.normal(0, 3, (3 * count, 4))
        far = np.concatenate([draw.uniform(0, 60, (6, 2)), draw.uniform(5, 40, (6, 2))], axis=1)
        guesses = np.concatenate([np.repeat(kinds, 3), draw.integers(0, CLASSES, 6)])
        wrong = draw.random(len(guesses)) < 0.2
        guesses = np.where(wrong, draw.integers(0, CLASSES, len(guesses)), guesses)
        scores = draw.integers(0, 25, len(guesses)) / 25
        found.append(Found(scores.tolist(), guesses.tolist(), np.concatenate([near, far]).clip(1).tolist()))
    return golds, found


@pytest.mark.parametrize("seed", range(4))
def test_map_is_that_of_pycocotools_on_the_split_and_on_resamples(seed: int) -> None:
    golds, found = made(seed)
    outcomes = boxes.outcomes(golds, found, CLASSES)
    assert metrics.compute("map", outcomes) == pytest.approx(coco(golds, found), abs=1e-12)
    score = metrics.resampler("map", outcomes, {})
    for drawn in np.random.default_rng(seed).integers(0, len(golds), (5, len(golds))):
        own = score({name: np.array(values)[drawn] for name, values in outcomes.items()})
        assert own == pytest.approx(coco([golds[i] for i in drawn], [found[i] for i in drawn]), abs=1e-12)


def test_only_boxes_that_can_change_a_figure_are_stored() -> None:
    golds, found = made(0)
    outcomes = boxes.outcomes(golds, found, CLASSES)
    stored = sum(value >= 0 for name, column in outcomes.items() if name.startswith("box_") for value in column)
    assert stored < sum(len(each.scores) for each in found) * 0.9


def test_a_hundred_boxes_of_a_class_count_in_a_picture() -> None:
    """The right one has the lowest score: as the 101st it is not seen."""
    golds = [Objects([0], [[10, 10, 20, 20]], [0])]
    for others, expected in ((99, 1 / 100), (100, 0.0)):
        found = [Found([0.5] * others + [0.1], [0] * (others + 1), [[50, 50, 9, 9]] * others + [[10, 10, 20, 20]])]
        assert metrics.compute("map", boxes.outcomes(golds, found, 1)) == pytest.approx(expected)
        assert coco(golds, found) == pytest.approx(expected)


def rows_of(places: Sequence[Any], kinds: Sequence[Any], size: tuple[int, int] = (480, 640), **more: Any) -> Any:
    """One picture of this height and width with these objects, and one with a plain object."""
    import datasets

    picture = Image.fromarray(np.zeros((*size, 3), np.uint8))
    own = {"bbox": list(places), "category": list(kinds), **more}
    plain = {"bbox": [[10.0, 10.0, 20.0, 20.0]], "category": [0], **{name: [0] for name in more}}
    return datasets.Dataset.from_dict({"image": [picture, picture], "objects": [plain, own]})


def judged(examples: Any, logits: torch.Tensor) -> dict[str, list[float]]:
    batch = TASK.collate([examples[row] for row in range(len(examples))], None)
    found: dict[str, list[float]] = TASK.answers(TASK.outcomes(logits, batch), examples)  # type: ignore[assignment]
    return found


def test_boxes_are_scaled_by_height_and_width_in_this_order() -> None:
    """With the sides exchanged, this box has an IoU of 0.1034 with the object: no hit at any threshold."""
    examples = prepared(rows_of([[256, 144, 128, 192]], [1])).select([1])
    query = torch.tensor([[[-9.0, 9.0, -9.0, 0.5, 0.5, 0.2, 0.4]]])  # red, blue, no object, box
    assert metrics.compute("map", judged(examples, query)) == pytest.approx(1.0)
    swapped = object_detection.in_pixels(np.array([[0.9, 1, 0.5, 0.5, 0.2, 0.4]]), 640, 480)
    gold = Objects([1], [[256, 144, 128, 192]], [0])
    assert metrics.compute("map", boxes.outcomes([gold], [swapped], 2)) == 0.0


def test_no_object_is_the_last_output_of_detr_and_no_class() -> None:
    """Read as a class, it would be the best of the first query, and its object lost."""
    examples = prepared(rows_of([[256, 144, 128, 192]], [1])).select([1])
    sure = torch.tensor([[[0.0, 1.0, 5.0, 0.5, 0.5, 0.2, 0.4], [-9.0, -9.0, 9.0, 0.1, 0.1, 0.1, 0.1]]])
    assert metrics.compute("map", judged(examples, sure)) == pytest.approx(1.0)


def test_boxes_of_low_scores_are_kept_for_recall() -> None:
    """Two objects, the second found with a score of 0.01: a threshold of 0.5 would leave half of the recall."""
    examples = prepared(rows_of([[256, 144, 128, 192], [0, 0, 64, 48]], [1, 1])).select([1])
    low = float(np.log(0.01 / 0.99))
    logits = torch.tensor([[[-9.0, 4.0, 0.0, 0.5, 0.5, 0.2, 0.4], [-20.0, low, 0.0, 0.05, 0.05, 0.1, 0.1]]])
    outcomes = judged(examples, logits)
    assert metrics.compute("map", outcomes) == pytest.approx(1.0)
    first = {name: [-1.0] if name == "box_1" else values for name, values in outcomes.items()}
    assert metrics.compute("map", first) == pytest.approx(51 / 101)  # recalls 0, 0.01 ... 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_are_those_of_transformers_without_a_threshold(kind: str) -> None:
    model, processor, examples = detector(kind), detector_processor(kind), prepared(detected(3, 4), kind)
    batch = TASK.collate([examples[row] for row in range(3)], None)
    with torch.no_grad():
        output = model(pixel_values=batch["pixel_values"])
    sizes = [picture.size[::-1] for picture in detected(3, 4)["image"]]
    expected = processor.post_process_object_detection(output, threshold=0.0, target_sizes=torch.tensor(sizes))
    found = TASK.outcomes(logits_of(output), batch)["found"]
    for rows, size, theirs in zip(found, sizes, expected, strict=True):
        ours = object_detection.in_pixels(rows, *size)
        order, other = np.argsort(-np.array(ours.scores)), theirs["scores"].argsort(descending=True)
        assert np.allclose(np.array(ours.scores)[order], theirs["scores"][other], atol=1e-6)
        assert (np.array(ours.classes)[order] == theirs["labels"][other].numpy()).all()
        corners = np.array(ours.boxes)[order] @ np.array([[1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]])
        assert np.allclose(corners, theirs["boxes"][other], atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_of_a_picture_is_that_of_transformers(kind: str) -> None:
    model, examples = detector(kind), prepared(detected(3, 4), kind)
    if kind == "rt_detr":
        from transformers.loss.loss_rt_detr import RTDetrLoss

        model.config.auxiliary_loss = False
    for row in range(3):
        batch = TASK.collate([examples[row]], None)
        objects = batch["labels"][0]
        labels = [{"class_labels": objects[:, :-4].argmax(-1), "boxes": objects[:, -4:]}]
        with torch.no_grad():
            output = model(pixel_values=batch["pixel_values"])
            if kind == "rt_detr":
                found = RTDetrLoss(model.config)({"logits": output.logits, "pred_boxes": output.pred_boxes}, labels)
                expected = sum(found.values())
            else:
                expected = model(pixel_values=batch["pixel_values"], labels=labels).loss
        sums, counts = TASK.losses(logits_of(output), batch["labels"])
        assert float(sums / counts) == pytest.approx(float(expected), rel=1e-4)


def test_a_picture_without_objects_has_a_loss_and_false_boxes() -> None:
    examples = prepared(rows_of([], []))
    assert "1 of 2 pictures have no object: every box in them is false" in examples.info.description
    batch = TASK.collate([examples[row] for row in range(2)], None)
    logits = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0)).sigmoid()
    sums, counts = TASK.losses(logits, batch["labels"])
    assert torch.isfinite(sums).all() and counts.tolist() == [1.0, 1.0]
    gold, box = Objects([0], [[10, 10, 20, 20]], [0]), ([0], [[10, 10, 20, 20]])
    outcomes = boxes.outcomes([gold, Objects([], [], [])], [Found([0.5], *box), Found([0.9], *box)], 2)
    assert metrics.compute("map", outcomes) == pytest.approx(0.5)  # the higher score is false


def test_a_soft_loss_pairs_queries_whatever_their_order() -> None:
    teacher = torch.rand(2, 6, 7, generator=torch.Generator().manual_seed(1))
    shuffled = teacher[:, [3, 0, 5, 1, 4, 2]].requires_grad_()
    assert TASK.soft_loss is not None
    assert float(TASK.soft_loss(shuffled, teacher, 2.0)) == pytest.approx(0, abs=1e-6)
    assert float(TASK.soft_loss(shuffled + 0.1, teacher, 2.0)) == pytest.approx(0.01 + 5 * 0.4, rel=1e-4)


def test_pairs_of_models_with_other_numbers_of_boxes_are_resampled_together() -> None:
    golds, found = made(2, pictures=30)
    fewer = [Found(each.scores[::2], each.classes[::2], each.boxes[::2]) for each in found]
    ours, theirs = (
        accuracy.Evaluation(boxes.outcomes(golds, each, CLASSES), finite=True, batch_size=4) for each in (fewer, found)
    )
    summary = accuracy.summarise(ours, "map", theirs, "dense", seed=0)
    assert summary.delta is not None and summary.delta.bounded and summary.chance == 0
    assert summary.delta.value == pytest.approx(coco(golds, fewer) - coco(golds, found), abs=1e-12)
    assert summary.estimate.low < coco(golds, fewer) < summary.estimate.high


def test_a_crowd_hides_what_is_found_inside_and_is_no_object_to_learn() -> None:
    rows = rows_of([[0, 0, 300, 300], [400, 100, 50, 50]], [1, 1], iscrowd=[1, 0])
    examples = prepared(rows).select([1])
    assert np.asarray(examples[0]["labels"]).shape == (1, 2 + 4)
    inside = [0.0, 5.0, -5.0, 0.2, 0.2, 0.1, 0.1]
    exact = [0.0, 1.0, -5.0, 425 / 640, 125 / 480, 50 / 640, 50 / 480]
    assert metrics.compute("map", judged(examples, torch.tensor([[inside, exact]]))) == pytest.approx(1.0)


BAD = {
    "corners": (
        [[500, 300, 630, 470]],
        [0],
        r"row 1: .* ends beyond its picture of 640 x 480, as do 1 of 2; .* not two",
    ),
    "outside": ([[700, 10, 20, 20]], [0], r"row 1: .* the box \[700.0, 10.0, 20.0, 20.0\] lies outside of its picture"),
    "three numbers": ([[1, 2, 3]], [0], r"row 1: .* the box \[1.0, 2.0, 3.0\] is not four finite numbers"),
    "no width": ([[10, 10, 0, 20]], [0], r"row 1: .* is not four finite numbers, the last two above 0"),
    "nan": ([[10, float("nan"), 5, 20]], [0], r"row 1: .* is not four finite numbers"),
    "a category less": ([[10, 10, 5, 20]], [], r"row 1: .* has 1 boxes, but 0 categories"),
    "unknown category": ([[10, 10, 5, 20]], [7], r"row 1: label column 'objects': .*7"),
    "no category": ([[10, 10, 5, 20]], [None], r"row 1: .* has an object without a category"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_objects_are_refused_by_row(kind: str) -> None:
    places, kinds, expected = BAD[kind]
    with pytest.raises(InputError, match=expected):
        prepared(rows_of(places, kinds))


def test_a_column_without_objects_is_refused() -> None:
    import datasets

    picture = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(InputError, match="row 0: label column 'objects' has no lists bbox and category"):
        prepared(datasets.Dataset.from_dict({"image": [picture], "objects": ["red"]}))
    parts = rows_of([[0.1, 0.1, 0.2, 0.2]], [0]).select([1])
    with pytest.raises(InputError, match="all numbers of boxes are up to 1, as parts of a picture"):
        prepared(parts)
    with pytest.raises(InputError, match="no picture of the split has an object"):
        prepared(rows_of([], []).select([1]))


def test_few_boxes_beyond_the_border_are_judged_as_they_are_with_a_note() -> None:
    inside = [[float(place), 10.0, 20.0, 20.0] for place in range(30)]
    rows = rows_of([*inside, [630.0, 470.0, 20.0, 20.0]], [0] * 31)
    examples = prepared(rows)
    assert "1 of 32 boxes of objects end beyond their picture, and are judged as they are" in examples.info.description
    held = examples.with_format(None)[1]["boxes"]
    assert held[-1] == [630.0, 470.0, 20.0, 20.0]
    learned = np.asarray(examples[1]["labels"])[-1, -4:] * [640, 480, 640, 480]
    assert learned == pytest.approx([635, 475, 10, 10], abs=1e-3)  # cut at the border, as in training of DETR


def test_categories_are_matched_by_name_and_lists_of_objects_are_read() -> None:
    import datasets

    picture = Image.fromarray(np.zeros((64, 64, 3), np.uint8))
    box = {"bbox": [4.0, 4.0, 9.0, 9.0]}
    rows = datasets.Dataset.from_dict(
        {"image": [picture], "objects": [[{**box, "category": "blue"}, {**box, "category": "red"}]]}
    )
    assert prepared(rows).with_format(None)[0]["classes"] == [1, 0]
    kind = datasets.ClassLabel(names=["blue", "red"])
    features = {"bbox": datasets.List(datasets.List(datasets.Value("float32"))), "category": datasets.List(kind)}
    named = {"image": [picture], "objects": [{"bbox": [[4, 4, 9, 9]], "category": [0]}]}
    other = datasets.Dataset.from_dict(
        named, features=datasets.Features({"image": datasets.Image(), "objects": features})
    )
    assert prepared(other).with_format(None)[0]["classes"] == [1]


def test_numbers_of_categories_that_are_probably_not_the_models_are_refused() -> None:
    """COCO's 80 classes have numbers up to 90 in models; data numbers them from 0 to 79."""
    model = detector()
    rows = rows_of([[1, 1, 9, 9]], [0])
    note = TASK.prepare(rows, detector_processor(), workload(), model.config).info.description
    assert "numbers without names, read as ids of the model: most objects, 0, are red" in note
    names = {0: "N/A", 1: "blue"}
    model.config.id2label, model.config.label2id = names, {name: number for number, name in names.items()}
    with pytest.raises(InputError, match=r"and 0 is N/A in the model's config.json"):
        TASK.prepare(rows, detector_processor(), workload(), model.config)


@pytest.mark.parametrize("mode", ["RGBA", "L", "P"])
def test_pictures_of_any_mode_have_three_channels(mode: str) -> None:
    rows = rows_of([[1, 1, 9, 9]], [0], size=(40, 50)).to_dict()
    picture = io.BytesIO()
    Image.new("RGB", (50, 40), (200, 10, 90)).convert(mode).save(picture, "PNG")
    import datasets

    rows["image"] = [{"bytes": picture.getvalue(), "path": None}] * 2
    examples = prepared(datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image()))
    assert np.asarray(examples[0]["pixel_values"]).shape == (3, 32, 32)


def test_detr_pads_pictures_of_other_shapes_under_a_mask() -> None:
    """With the mask, a padded picture is closer to the picture alone; convolutions see the edge of the padding."""
    processor = detector_processor("detr", size={"shortest_edge": 32, "longest_edge": 64})
    examples = prepared(rows_of([[1, 1, 9, 9]], [0], size=(40, 60)), "detr", processor)
    assert "pictures are padded to 64 x 64 pixels" in examples.info.description
    batch = TASK.collate([examples[row] for row in range(2)], None)
    assert batch["pixel_values"].shape == (2, 3, 64, 64) and batch["pixel_mask"][0].sum() == 32 * 48
    model = detector("detr")
    assert TASK.check(model, processor, examples, workload()) == []
    alone = {"pixel_values": batch["pixel_values"][:1, :, :32, :48], "pixel_mask": batch["pixel_mask"][:1, :32, :48]}
    with torch.no_grad():
        expected = logits_of(model(**alone))
        masks = (batch["pixel_mask"], torch.ones_like(batch["pixel_mask"]))
        masked, unmasked = (
            (logits_of(model(pixel_values=batch["pixel_values"], pixel_mask=mask))[:1] - expected).abs().max()
            for mask in masks
        )
    assert masked < 0.7 * unmasked


def test_other_models_need_one_size() -> None:
    processor = detector_processor("yolos", size={"shortest_edge": 32, "longest_edge": 64})
    (problem,) = TASK.check(detector(), processor, None, workload())  # type: ignore[arg-type]
    assert "gives pictures of different sizes; write one size to its preprocessor_config.json" in problem


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxes, "PACKAGES", ("not_installed",))
    with pytest.raises(InputError, match=r"need not_installed; install: pip install 'compress\[detection\]'"):
        boxes.check_packages()
