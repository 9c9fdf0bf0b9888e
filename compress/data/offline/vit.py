"""digits-vit: a small ViT on the handwritten digits of scikit-learn (1,797 images of 8 x 8 pixels).

The images are stored unchanged. The model's image processor enlarges them to 32 x 32 pixels; a patch has 8 x 8.
"""

import hashlib
import importlib.util
import io
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.base.config import InputError
from compress.data.offline import parts as offline_parts
from compress.data.offline.parts import Sizes, seeded

if TYPE_CHECKING:
    import torch

FILE = Path("datasets") / "data" / "digits.csv.gz"
TEST_EVERY = 3  # 599 test images, by the same writers as training; far fewer would give 3-point intervals


@dataclass(frozen=True, kw_only=True)
class Settings(Sizes):
    """All settings of the data, the model and its training."""

    image: int = 32
    patch: int = 8
    layers: int = 5
    batch: int = 64
    steps: int = 400
    learning_rate: float = 5e-4


SETTINGS = Settings()


def data_digest() -> str:
    """Return 16 hex digits of scikit-learn's file of digits, located without importing scikit-learn."""
    spec = importlib.util.find_spec("sklearn")
    folder = next(iter(spec.submodule_search_locations or ()), None) if spec else None
    if folder is None or not (Path(folder) / FILE).is_file():
        raise InputError("offline:digits-vit needs scikit-learn and its bundled digits; install scikit-learn")
    return hashlib.sha256((Path(folder) / FILE).read_bytes()).hexdigest()[:16]


def build(folder: Path, settings: Settings) -> None:
    """Write model/ and data/{train,test}.parquet into `folder`."""
    train, test = split(settings)
    processor = make_processor(settings)
    model = make_model(settings)
    fit(model, processor, train, settings)
    offline_parts.write(folder, model, processor, train=table(train), test=table(test))


Digits = list[tuple[Any, int]]


def split(settings: Settings) -> tuple[Digits, Digits]:
    """Return (training, test) lists of pairs of an RGB PIL image and its digit, shuffled by the seed."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = (digits.images * (255 / 16)).round().astype("uint8")  # [1797, 8, 8], stored as 0 to 16
    pairs = [(Image.fromarray(p).convert("RGB"), int(d)) for p, d in zip(pixels, digits.target, strict=True)]
    random.Random(settings.seed).shuffle(pairs)
    test = pairs[::TEST_EVERY]
    return [pair for index, pair in enumerate(pairs) if index % TEST_EVERY], test


def make_processor(settings: Settings) -> Any:
    """Return the image processor, which enlarges images and scales pixels to -1 .. 1."""
    from transformers import ViTImageProcessor

    return ViTImageProcessor(size={"height": settings.image, "width": settings.image})


def make_model(settings: Settings) -> Any:
    """Return an untrained ViT classifier with seeded weights."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        **settings.architecture(),
        image_size=settings.image,
        patch_size=settings.patch,
        id2label={digit: str(digit) for digit in range(10)},
        label2id={str(digit): digit for digit in range(10)},
    )
    return seeded(lambda: ViTForImageClassification(config), settings.seed)


def fit(model: Any, processor: Any, train: Digits, settings: Settings) -> float:
    """Train the model in place on the images without augmentation; return the last batch's loss."""
    import torch

    from compress.data.offline.train import train as run

    pixels = processor(images=[image for image, _ in train], return_tensors="pt")["pixel_values"]
    labels = torch.tensor([digit for _, digit in train])
    generator = torch.Generator().manual_seed(settings.seed)

    def batch(_: int) -> "dict[str, torch.Tensor]":
        chosen = torch.randint(len(labels), (settings.batch,), generator=generator)
        return {"pixel_values": pixels[chosen], "labels": labels[chosen]}

    return run(
        model,
        batch,
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        seed=settings.seed,
        title="training digits-vit",
    )


def table(digits: Digits) -> Any:
    """Return a dataset with columns image (PNG) and label, in the hub's format for images."""
    import datasets

    names = [str(digit) for digit in range(10)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    images = [{"bytes": _png(image), "path": None} for image, _ in digits]
    columns = {"image": images, "label": [digit for _, digit in digits]}
    return datasets.Dataset.from_dict(columns, features=features)


def _png(image: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()
