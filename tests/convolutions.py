"""Tiny models of families with convolutions, random or trained on digits, and bundles around them."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import transformers

from compress.model.bundle import Bundle

COLOURS: dict[str, Any] = {"num_channels": 3, "num_labels": 5}
SIZED: dict[str, Any] = {**COLOURS, "image_size": 32}
STAGES: dict[str, Any] = {"hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 2, 1]}
HIDDEN: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "patch_size": 4}


def resnet(kind: str, hidden: list[int]) -> Any:
    """ResNet of two stages with this kind of block."""
    return family("ResNet", **COLOURS, embedding_size=16, hidden_sizes=hidden, depths=[2, 2], layer_type=kind)


def family(name: str, **fields: Any) -> Any:
    """An image classifier of the classes with this name, with random weights."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**fields)
    model = getattr(transformers, f"{name}ForImageClassification")(config)
    with torch.no_grad():
        for parameter in model.parameters():  # biases too: a cut that forgets one must change the output
            parameter.add_(torch.randn_like(parameter) * 0.02)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        model.train()(pixel_values=pixels(8))  # norms take the statistics of real activations: answers then differ
    return model.eval()


FAMILIES: dict[str, Callable[[], Any]] = {
    "resnet": lambda: resnet("basic", [16, 32]),
    "resnet_bottleneck": lambda: resnet("bottleneck", [32, 64]),
    "mobilenet_v1": lambda: family("MobileNetV1", **SIZED, depth_multiplier=0.25),
    "mobilenet_v2": lambda: family("MobileNetV2", **SIZED, depth_multiplier=0.35),
    "convnext": lambda: family("ConvNext", **SIZED, **STAGES),
    "convnextv2": lambda: family("ConvNextV2", **SIZED, **STAGES),
    "swin": lambda: family("Swin", **SIZED, patch_size=2, embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4),
    "dinov2": lambda: family("Dinov2", **SIZED, **HIDDEN, mlp_ratio=2),
    "regnet": lambda: family(
        "RegNet", **COLOURS, embedding_size=16, hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 2, 1], groups_width=8
    ),
    "efficientnet": lambda: family(
        "EfficientNet", **SIZED, width_coefficient=0.25, depth_coefficient=0.5, hidden_dim=320
    ),
}


def pixels(count: int = 3) -> torch.Tensor:
    """Random pictures [count, 3, 32, 32]."""
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def answer(model: Any) -> torch.Tensor:
    """Its logits of `pixels`."""
    with torch.no_grad():
        logits: torch.Tensor = model(pixel_values=pixels()).logits.float()
    return logits


def examples(count: int = 24) -> Any:
    """Random training pictures of 5 classes."""
    import datasets

    return datasets.Dataset.from_dict(
        {"pixel_values": pixels(count).tolist(), "labels": [index % 5 for index in range(count)]}
    )


def bundle(model: Any, train: Callable[[], Any] = examples, runtime: str = "auto") -> Bundle:
    """A bundle on the CPU around an image classifier."""
    return Bundle(model, None, "image-classification", torch.device("cpu"), train=train, runtime=runtime)


@cache
def digits() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pixels and labels of 1200 training digits, then of 597 test digits; 16 x 16."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    images = torch.tensor(loaded.images / 8 - 1, dtype=torch.float32)[:, None]
    images = torch.nn.functional.interpolate(images, size=(16, 16), mode="bilinear")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    train, test = order[597:], order[:597]
    labels = torch.tensor(loaded.target)
    return images[train], labels[train], images[test], labels[test]


def trained(model: Any, epochs: int, rate: float = 3e-3) -> Any:
    """The model after training on digits: 64 a batch, AdamW, one cycle of the rate."""
    images, labels, _, _ = digits()
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.1  # MobileNet's own 0.9997 keeps the statistics of the last batch alone
    steps = epochs * (len(images) // 64)
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps + 1)
    for _ in range(epochs):
        for chosen in torch.randperm(len(images))[: len(images) // 64 * 64].split(64):
            optimizer.zero_grad()
            model(pixel_values=images[chosen], labels=labels[chosen]).loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


@cache
def digits_resnet() -> Any:
    """A residual network of three stages, trained on digits."""
    sizes = {"embedding_size": 16, "hidden_sizes": [16, 32, 64], "depths": [1, 1, 1], "layer_type": "basic"}
    torch.manual_seed(0)
    config = transformers.ResNetConfig(num_channels=1, num_labels=10, **sizes)
    return trained(transformers.ResNetForImageClassification(config), epochs=6)


@cache
def digits_mobilenet() -> Any:
    """A MobileNet (13 depthwise and 14 other convolutions), trained on digits."""
    torch.manual_seed(0)
    config = transformers.MobileNetV1Config(
        num_channels=1, num_labels=10, image_size=16, depth_multiplier=0.25, classifier_dropout_prob=0.0
    )
    return trained(transformers.MobileNetV1ForImageClassification(config), epochs=12)


def training_digits() -> Any:
    """Training digits as a data set."""
    import datasets

    images, labels, _, _ = digits()
    return datasets.Dataset.from_dict({"pixel_values": images.numpy(), "labels": labels.tolist()})


def accuracy(model: Any) -> float:
    """The share of the test digits that a model names rightly."""
    _, _, images, labels = digits()
    with torch.no_grad():
        predicted = torch.cat([model(pixel_values=part).logits.float().argmax(1) for part in images.split(64)])
    return float((predicted == labels).float().mean())
