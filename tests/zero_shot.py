"""Small CLIP and SigLIP models that know three colours, and made pictures of them."""

from pathlib import Path
from typing import Any

import numpy as np

COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 60, 210)}
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "photo", "picture", "of", "the", "colour", ".", *COLOURS)
WIDTHS = {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
SIZE = 16
TEMPLATES = ("a photo of a {}.", "the colour {}", "a {} picture")


def tokenizer() -> Any:
    """A tokenizer of whole words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", bos_token="[CLS]", eos_token="[SEP]",
        model_max_length=12,
    )  # fmt: skip


def image_processor(kind: str = "clip") -> Any:
    """The image processor of a kind, for pictures of 16 x 16."""
    import transformers

    size = {"height": SIZE, "width": SIZE}
    if kind == "siglip":
        return transformers.SiglipImageProcessorPil(size=size)
    return transformers.CLIPImageProcessorPil(size=size, crop_size=size)


def two_towers(kind: str = "clip") -> Any:
    """A small model of pictures and texts with random weights."""
    import torch
    import transformers

    torch.manual_seed(0)
    text = {
        "vocab_size": 32, "hidden_size": 32, "max_position_embeddings": 12, "pad_token_id": 0, "bos_token_id": 2,
        "eos_token_id": 3, **WIDTHS,
    }  # fmt: skip
    vision = {"hidden_size": 32, "image_size": SIZE, "patch_size": 8, **WIDTHS}
    if kind == "siglip":
        return transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=vision)).eval()
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
    return transformers.CLIPModel(config).eval()


def trained(kind: str = "clip", steps: int = 60) -> Any:
    """The same, trained until it names the colour of most pictures."""
    import torch

    model, words, process = two_towers(kind), tokenizer(), image_processor(kind)
    given = words([f"a photo of a {name}." for name in COLOURS], padding="max_length", return_tensors="pt")
    texts = {name: given[name] for name in ("input_ids", "attention_mask")[: 1 if kind == "siglip" else 2]}
    images, labels = pictures(48, 5)
    pixels = process(images=images, return_tensors="pt")["pixel_values"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        logits = model(pixel_values=pixels, **texts).logits_per_image
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def pictures(count: int, seed: int) -> tuple[list[Any], list[int]]:
    """Noisy pictures of one colour each, and the number of the colour."""
    from PIL import Image

    draw = np.random.default_rng(seed)
    labels = [int(number) for number in draw.integers(0, len(COLOURS), count)]
    colours = list(COLOURS.values())
    noise = draw.normal(0, 70, (count, 20, 20, 3))
    filled = [np.clip(np.array(colours[label]) + noise[i], 0, 255) for i, label in enumerate(labels)]
    return [Image.fromarray(each.astype(np.uint8)) for each in filled], labels


def table(count: int, seed: int, named: bool = True) -> Any:
    """Pictures with their classes: numbers with names, or numbers alone."""
    import datasets

    images, labels = pictures(count, seed)
    kind = datasets.ClassLabel(names=list(COLOURS)) if named else datasets.Value("int64")
    features = datasets.Features({"image": datasets.Image(), "label": kind})
    return datasets.Dataset.from_dict({"image": images, "label": labels}, features=features)


def write_towers(folder: Path, kind: str = "clip", model: Any = None) -> Path:
    """A folder with a model, its tokenizer and its image processor."""
    (model or two_towers(kind)).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    image_processor(kind).save_pretrained(folder)
    return folder


def write_colours(folder: Path, train: Any = None, test: Any = None) -> Path:
    """A folder with data as train.parquet and test.parquet."""
    folder.mkdir(parents=True, exist_ok=True)
    (train or table(48, 1)).to_parquet(folder / "train.parquet")
    (test or table(60, 2)).to_parquet(folder / "test.parquet")
    return folder


def write_zero_shot(folder: Path, kind: str = "clip", whole: Any = None, test: Any = None, **changes: Any) -> Path:
    """A folder with a model, data and `colours.yaml`; returns the path of the workload file."""
    from ruamel.yaml import YAML

    if not (folder / "model").exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_towers(folder / "model", kind, whole)
    write_colours(folder / "data", test=test)
    plain: dict[str, Any] = {
        "task": "zero-shot-image-classification",
        "model": "model",
        "dataset": {"path": "data", **changes.pop("dataset", {})},
        "templates": list(TEMPLATES),
        "headline": {"batch_size": 4},
        **changes,
    }
    path = folder / "colours.yaml"
    with path.open("w", encoding="utf-8") as out:
        YAML().dump(plain, out)
    return path


def opened(path: Path) -> tuple[Any, Any, Any]:
    """The model of a workload file, its image processor, and where both lie."""
    from compress.data import loading, locate
    from compress.data.workload import Workload

    source = locate.resolve(Workload.load(path))
    model, processor = loading.load_model(source)
    return model, processor, source
