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


KINDS = ("detr", "yolos", "rt_detr")
"""Types of detectors."""


def detected(count: int, seed: int) -> Any:
    """Pictures and their objects, in the columns of the hub, with the names of categories."""
    import datasets

    boxes = datasets.List(datasets.List(datasets.Value("float64")))
    objects = {"bbox": boxes, "category": datasets.List(datasets.ClassLabel(names=list(COLOURS)))}
    pictures, _, found = zip(*scenes(count, seed), strict=True)
    given = [{name: [each[name] for each in own] for name in objects} for own in found]
    features = datasets.Features({"image": datasets.Image(), "objects": objects})
    return datasets.Dataset.from_dict({"image": list(pictures), "objects": given}, features=features)


def detector_processor(kind: str = "yolos", **changes: Any) -> Any:
    """The image processor of a small detector."""
    import transformers

    made = {
        "detr": transformers.DetrImageProcessorPil,
        "yolos": transformers.YolosImageProcessorPil,
        "rt_detr": transformers.RTDetrImageProcessorPil,
    }[kind]
    return made(**{"size": {"height": SIZE, "width": SIZE}, **changes})


def detector(kind: str = "yolos", classes: int = len(COLOURS)) -> Any:
    """A small detector with random weights, spread so that no two scores are equal."""
    import torch
    import transformers

    torch.manual_seed(0)
    names = list(COLOURS)[:classes] + [f"kind {number}" for number in range(len(COLOURS), classes)]
    ids = {"id2label": dict(enumerate(names)), "label2id": {name: number for number, name in enumerate(names)}}
    attention = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "d_model": 32, "decoder_layers": 2}
    if kind == "yolos":
        config = transformers.YolosConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, image_size=[SIZE, SIZE],
            patch_size=8, num_detection_tokens=8, use_mid_position_embeddings=False, hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0, **ids,
        )  # fmt: skip
        return _spread(transformers.YolosForObjectDetection(config))
    if kind == "detr":
        backbone = transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", out_features=["stage2"]
        )
        config = transformers.DetrConfig(
            use_timm_backbone=False, backbone_config=backbone, use_pretrained_backbone=False, backbone=None,
            encoder_layers=1, encoder_ffn_dim=64, decoder_ffn_dim=64, num_queries=8, dropout=0.0, **attention, **ids,
        )  # fmt: skip
        return _spread(transformers.DetrForObjectDetection(config))
    stages = {"hidden_sizes": [8, 16, 24], "depths": [1, 1, 1], "out_features": ["stage1", "stage2", "stage3"]}
    backbone = transformers.RTDetrResNetConfig(embedding_size=8, layer_type="basic", **stages)
    config = transformers.RTDetrConfig(
        backbone_config=backbone, use_pretrained_backbone=False, use_timm_backbone=False, encoder_hidden_dim=32,
        encoder_in_channels=[8, 16, 24], feat_strides=[4, 8, 16], encoder_layers=1, encoder_ffn_dim=64, num_queries=8,
        decoder_in_channels=[32, 32, 32], decoder_ffn_dim=64, anchor_image_size=None, hidden_expansion=1.0,
        num_denoising=0, dropout=0.0, **attention, **ids,
    )  # fmt: skip
    return _spread(transformers.RTDetrForObjectDetection(config))


def _spread(model: Any) -> Any:
    """The model with noise on all weights: RT-DETR gives every place the same score at first."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def trained_detector(kind: str = "yolos", steps: int = 100) -> Any:
    """The same, trained on a few pictures."""
    import torch

    from compress.data.tasks import task_of
    from compress.data.workload import Workload
    from compress.model.outputs import logits_of

    task, model, processor = task_of("object-detection"), detector(kind).train(), detector_processor(kind)
    dataset = {"path": "d", "label": "objects"}
    workload = Workload.model_validate({"task": task.name, "model": "m", "dataset": dataset, "name": "w"})
    examples = task.prepare(detected(32, 5), processor, workload, model.config)
    batch = task.collate([examples[row] for row in range(32)], processor)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        sums, counts = task.losses(logits_of(model(pixel_values=batch["pixel_values"])), batch["labels"])
        optimizer.zero_grad()
        (sums.sum() / counts.sum()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
    return model.eval()


def write_detected(folder: Path, kind: str = "yolos", model: Any = None, **changes: Any) -> Path:
    """A folder with a detector, data and `scenes.yaml`."""
    label = {"label": "objects", **changes.pop("dataset", {})}
    processor = changes.pop("processor", None) or detector_processor(kind)
    return write_pictured(
        folder, "object-detection", model or detector(kind), processor, detected, dataset=label, **changes
    )
