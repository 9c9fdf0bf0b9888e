"""A small tagger of words, made sentences with entities, and a tokenizer that splits words into pieces."""

import random
from pathlib import Path
from typing import Any

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
OTHER_ORDER = ("B-LOC", "B-PER", "I-LOC", "I-PER", "O")
FIRST, LAST, CITIES = ("wolfgang", "clara"), ("mozart", "wieck"), ("salzburg", "leipzig")
FILLER = ("lives", "in", "the", "old", "house", "near", "river", "and", "was", "born")
PIECES = (
    "wolf", "##gang", "cla", "##ra", "mo", "##zart", "wie", "##ck", "salz", "##burg", "leip", "##zig", "new", "port",
    "wol", "##fgang", *FILLER,
)  # fmt: skip


def tokenizer(kind: Any = None) -> Any:
    """A WordPiece tokenizer in which names have two pieces."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *PIECES]
    inner = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return (kind or PreTrainedTokenizerFast)(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=64,
    )  # fmt: skip


def sentences(count: int, seed: int, untagged: float = 0.0) -> dict[str, list[Any]]:
    """Made sentences of names, cities of one or two words, and fillers; tags as names.

    A share of the words is `untagged`, so that no model finds all entities and no others.
    """
    draw = random.Random(seed)
    tokens, tags = [], []
    for _ in range(count):
        parts: list[tuple[list[str], list[str]]] = [([word], ["O"]) for word in draw.choices(FILLER, k=8)]
        city = (["new", "port"], ["B-LOC", "I-LOC"]) if draw.random() < 0.4 else ([draw.choice(CITIES)], ["B-LOC"])
        parts[draw.randrange(4)] = ([draw.choice(FIRST), draw.choice(LAST)], ["B-PER", "I-PER"])
        parts[draw.randrange(4, 8)] = city
        parts = parts[: draw.randrange(3, 9)]
        tokens.append([word for words, _ in parts for word in words])
        tags.append(["O" if draw.random() < untagged else tag for _, names in parts for tag in names])
    return {"tokens": tokens, "ner_tags": tags}


def tagger(names: tuple[str, ...] = TAGS, layers: int = 2, kind: str = "Bert") -> Any:
    """A small tagger with random weights."""
    import torch
    import transformers

    torch.manual_seed(0)
    width = {
        "Bert": {"hidden_size": 32, "num_hidden_layers": layers, "num_attention_heads": 4, "intermediate_size": 64},
        "DistilBert": {"dim": 32, "n_layers": layers, "n_heads": 4, "hidden_dim": 64},
    }[kind]
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=64, max_position_embeddings=64, pad_token_id=0, **width, id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
    )  # fmt: skip
    return getattr(transformers, f"{kind}ForTokenClassification")(config).eval()


def trained_tagger(names: tuple[str, ...] = TAGS, steps: int = 40) -> Any:
    """The same, trained until it finds nearly all made entities."""
    import torch

    model, tokens = tagger(names).train(), tokenizer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(steps):
        data = sentences(32, seed=1000 + step)
        batch = tokens(data["tokens"], is_split_into_words=True, padding=True, return_tensors="pt")
        labels = torch.full_like(batch["input_ids"], -100)
        for row, tags in enumerate(data["ner_tags"]):
            for place, word in enumerate(batch.word_ids(row)):
                if word is not None and word not in batch.word_ids(row)[:place]:
                    labels[row, place] = names.index(tags[word])
        loss = model(**batch, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def write_tagged(folder: Path, model: Any = None, names: tuple[str, ...] = TAGS, **changes: Any) -> Path:
    """A folder with a tagger, data and `tags.yaml`; returns the path of the workload file."""
    import datasets
    from ruamel.yaml import YAML

    folder.mkdir(parents=True, exist_ok=True)
    (model or trained_tagger()).save_pretrained(folder / "model")
    tokenizer().save_pretrained(folder / "model")
    (folder / "data").mkdir(exist_ok=True)
    numbered = datasets.List(datasets.ClassLabel(names=list(names)))
    for split, count, seed in (("train", 96, 1), ("test", 60, 2)):
        data = sentences(count, seed, untagged=0.1)
        data["ner_tags"] = [[names.index(tag) for tag in tags] for tags in data["ner_tags"]]
        rows = datasets.Dataset.from_dict(data).cast_column("ner_tags", numbered)
        rows.to_parquet(folder / "data" / f"{split}.parquet")
    plain: dict[str, Any] = {
        "task": "token-classification",
        "model": "model",
        "dataset": {"path": "data", "text": "tokens", "label": "ner_tags"},
        "max_length": 32,
        "headline": {"batch_size": 4, "sequence_length": 16},
        **changes,
    }
    path = folder / "tags.yaml"
    with path.open("w", encoding="utf-8") as out:
        YAML().dump(plain, out)
    return path
