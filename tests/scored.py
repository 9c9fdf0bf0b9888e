"""Small models that give scores, several labels, or an order of texts, with made data for each."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.helpers import BAD, FILLER, GOOD, tokenizer


def graded(count: int, seed: int) -> dict[str, list[Any]]:
    """Made sentences with a number: how many of their words are good."""
    draw = random.Random(seed)
    texts, labels = [], []
    for _ in range(count):
        good = draw.randrange(5)
        words = draw.choices(FILLER, k=draw.randrange(3, 9)) + draw.choices(GOOD, k=good) + draw.choices(BAD, k=2)
        draw.shuffle(words)
        texts.append(" ".join(words))
        labels.append(float(good))
    return {"text": texts, "label": labels}


def encoder(outputs: int = 1, kind: str = "Bert", **settings: Any) -> Any:
    """A small encoder of texts with this many outputs and random weights."""
    import torch
    import transformers

    torch.manual_seed(0)
    width = {
        "Bert": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64},
        "DistilBert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
    }[kind]
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=64, max_position_embeddings=64, pad_token_id=0, num_labels=outputs, **width, **settings
    )
    return getattr(transformers, f"{kind}ForSequenceClassification")(config).eval()


def trained(model: Any, data: Callable[[int, int], dict[str, list[Any]]], steps: int = 60) -> Any:
    """The model after a few steps on made texts, by its own loss."""
    import torch

    tokens = tokenizer()
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=3e-3)
    for step in range(steps):
        made = data(32, 1000 + step)
        texts = [made[name] for name in ("text", "text_pair") if name in made]
        batch = tokens(*texts, padding=True, truncation=True, max_length=32, return_tensors="pt")
        loss = model(**batch, labels=torch.tensor(made["label"])).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def write(folder: Path, task: str, model: Any, splits: Sequence[dict[str, list[Any]]], **changes: Any) -> Path:
    """A folder with the model, the data (train and test) and `scored.yaml`; returns the path of the workload file."""
    import datasets
    from ruamel.yaml import YAML

    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder / "model")
    tokenizer().save_pretrained(folder / "model")
    (folder / "data").mkdir(exist_ok=True)
    for name, data in zip(("train", "test"), splits, strict=True):
        datasets.Dataset.from_dict(data).to_parquet(folder / "data" / f"{name}.parquet")
    plain: dict[str, Any] = {
        "task": task,
        "model": "model",
        "dataset": {"path": "data", **changes.pop("dataset", {})},
        "max_length": 32,
        "headline": {"batch_size": 4, "sequence_length": 16},
        **changes,
    }
    path = folder / "scored.yaml"
    with path.open("w", encoding="utf-8") as out:
        YAML().dump(plain, out)
    return path


TOPICS = ("praise", "blame", "story")
"""Labels of made sentences: words of `GOOD`, of `BAD`, or one of "plot" and "story"."""


def labelled(count: int, seed: int, wrong: float = 0.0) -> dict[str, list[Any]]:
    """Made sentences with any of the three labels, or none, as names; a share of these decisions is `wrong`."""
    draw = random.Random(seed)
    texts, labels = [], []
    kinds = (GOOD, BAD, ("plot", "story"))
    plain = [word for word in FILLER if word not in kinds[2]]
    for _ in range(count):
        chosen = [number for number in range(3) if draw.random() < 0.4]
        words = draw.choices(plain, k=draw.randrange(4, 12)) + [draw.choice(kinds[number]) for number in chosen]
        draw.shuffle(words)
        texts.append(" ".join(words))
        labels.append([TOPICS[number] for number in range(3) if (number in chosen) is not (draw.random() < wrong)])
    return {"text": texts, "label": labels}


def labeller(kind: str = "Bert", **settings: Any) -> Any:
    """A small model of the three labels with random weights."""
    names = {"id2label": dict(enumerate(TOPICS)), "label2id": {name: number for number, name in enumerate(TOPICS)}}
    return encoder(3, kind, **{"problem_type": "multi_label_classification", **names, **settings})


def marked(count: int, seed: int) -> dict[str, list[Any]]:
    """The made sentences with labels of 0 and 1, for training."""
    data = labelled(count, seed)
    return {**data, "label": [[float(name in each) for name in TOPICS] for each in data["label"]]}


def searched(count: int, seed: int) -> dict[str, list[Any]]:
    """Made queries with texts, graded by how many good words they hold; some others hold one too."""
    draw = random.Random(seed)
    rows: dict[str, list[Any]] = {"query": [], "positives": [], "negatives": [], "grades": []}
    for _ in range(count):
        grades = [2, 1][: draw.randrange(1, 3)]
        found = [draw.choices(GOOD, k=grade) + draw.choices(FILLER, k=5) for grade in grades]
        kinds = [GOOD if draw.random() < 0.15 else BAD for _ in range(draw.randrange(2, 5))]
        others = [draw.choices(kind, k=1) + draw.choices(FILLER, k=6) for kind in kinds]
        for words in found + others:
            draw.shuffle(words)
        rows["query"].append(" ".join(draw.choices(FILLER, k=2)))
        rows["positives"].append([" ".join(words) for words in found])
        rows["negatives"].append([" ".join(words) for words in others])
        rows["grades"].append([float(grade) for grade in grades])
    return rows


def pairs(count: int, seed: int) -> dict[str, list[Any]]:
    """The made queries as pairs with a number, for training."""
    data = searched(count, seed)
    found: dict[str, list[Any]] = {"text": [], "text_pair": [], "label": []}
    for query, good, bad in zip(data["query"], data["positives"], data["negatives"], strict=True):
        for text, label in [(text, 1.0) for text in good] + [(text, -1.0) for text in bad]:
            for name, value in zip(found, (query, text, label), strict=True):
                found[name].append(value)
    return found
