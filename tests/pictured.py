"""Made pictures of coloured rectangles: their boxes, the class of each pixel, and small models that find them."""

from pathlib import Path
from typing import Any

import numpy as np

COLOURS = {"red": (220, 40, 40), "blue": (50, 60, 210)}
SIZE = 32
"""Height and width that models take."""
NONE = 255
"""Id of pixels without a class."""


def scene(draw: np.random.Generator) -> tuple[Any, Any, list[dict[str, Any]]]:
    """A picture of another size than the models take, the class of its pixels, and its objects."""
    from PIL import Image

    height, width = (int(side) for side in draw.integers(36, 52, 2))
    picture = draw.normal(128, 25, (height, width, 3))
    ids = np.zeros((height, width), dtype=np.uint8)
    objects = []
    for number in range(int(draw.integers(1, 3))):
        high, wide = (int(side) for side in draw.integers(14, 22, 2))
        top = int(draw.integers(0, height - high))
        left = int(draw.integers(0, width // 2 - 11)) + number * (width // 2) if wide < width // 2 else 0
        wide = min(wide, width - left)
        kind = int(draw.integers(0, len(COLOURS)))
        place = (slice(top, top + high), slice(left, left + wide))
        picture[place] = np.array([*COLOURS.values()][kind]) + draw.normal(0, 25, (high, wide, 3))
        ids[place] = kind + 1
        objects.append({"bbox": [left, top, wide, high], "category": kind})
    ids[:2] = NONE
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)), Image.fromarray(ids), objects


def scenes(count: int, seed: int) -> list[tuple[Any, Any, list[dict[str, Any]]]]:
    """So many of them."""
    draw = np.random.default_rng(seed)
    return [scene(draw) for _ in range(count)]


def segmented(count: int, seed: int) -> Any:
    """Pictures and their annotations, in the columns of the hub."""
    import datasets

    features = datasets.Features({"image": datasets.Image(), "annotation": datasets.Image()})
    pictures, ids, _ = zip(*scenes(count, seed), strict=True)
    return datasets.Dataset.from_dict({"image": list(pictures), "annotation": list(ids)}, features=features)


def segmenter_processor(**changes: Any) -> Any:
    """The image processor of a small SegFormer."""
    import transformers

    return transformers.SegformerImageProcessorPil(size={"height": SIZE, "width": SIZE}, **changes)


def segmenter(**changes: Any) -> Any:
    """A small SegFormer with random weights: background, red, blue."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        num_encoder_blocks=2, depths=[1, 1], sr_ratios=[2, 1], hidden_sizes=[16, 32], patch_sizes=[7, 3],
        strides=[4, 2], num_attention_heads=[2, 4], mlp_ratios=[2, 2], decoder_hidden_size=32,
        id2label={0: "background", 1: "red", 2: "blue"}, label2id={"background": 0, "red": 1, "blue": 2},
        hidden_dropout_prob=0.0, classifier_dropout_prob=0.0, drop_path_rate=0.0, **changes,
    )  # fmt: skip
    return transformers.SegformerForSemanticSegmentation(config).eval()


def trained_segmenter(steps: int = 80) -> Any:
    """The same, trained until it finds most pixels of the rectangles."""
    import torch

    model, process = segmenter().train(), segmenter_processor()
    pictures, ids, _ = zip(*scenes(32, 5), strict=True)
    given = process(images=list(pictures), segmentation_maps=list(ids), return_tensors="pt")
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(steps):
        loss = model(pixel_values=given["pixel_values"], labels=given["labels"]).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def write_pictured(folder: Path, task: str, model: Any, processor: Any, table: Any, **changes: Any) -> Path:
    """A folder with a model, data of `table(count, seed)` and `scenes.yaml`; returns the path of the workload file."""
    from ruamel.yaml import YAML

    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    (folder / "data").mkdir()
    for split, seed in (("train", 1), ("test", 2)):
        table(24, seed).to_parquet(folder / "data" / f"{split}.parquet")
    plain = {"task": task, "model": "model", "dataset": {"path": "data", **changes.pop("dataset", {})}, **changes}
    path = folder / "scenes.yaml"
    with path.open("w", encoding="utf-8") as out:
        YAML().dump(plain, out)
    return path


def write_segmented(folder: Path, model: Any = None, **changes: Any) -> Path:
    """The same for segmentation."""
    label = {"label": "annotation", **changes.pop("dataset", {})}
    return write_pictured(
        folder, "image-segmentation", model or segmenter(), segmenter_processor(), segmented, dataset=label, **changes
    )
