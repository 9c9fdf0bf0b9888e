"""A small sentence encoder in the folders of both generations, and made pairs of texts with a similarity."""

import json
import random
from pathlib import Path
from typing import Any

from compress.spec.steps import Distill, LowRank, Prune, Quantize, Step
from tests.helpers import BAD, FILLER, GOOD, tokenizer

OLD: dict[str, Any] = {
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ],
    "1_Pooling/config.json": {
        "word_embedding_dimension": 32,
        "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    },
    "sentence_bert_config.json": {"max_seq_length": 24, "do_lower_case": False},
    "config_sentence_transformers.json": {"__version__": {"sentence_transformers": "2.0.0"}},
}
NEW: dict[str, Any] = {
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"},
        {
            "idx": 1,
            "name": "1",
            "path": "1_Pooling",
            "type": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
        },
        {
            "idx": 2,
            "name": "2",
            "path": "2_Normalize",
            "type": "sentence_transformers.base.modules.normalize.Normalize",
        },
    ],
    "1_Pooling/config.json": {"embedding_dimension": 32, "pooling_mode": "mean", "include_prompt": True},
    "sentence_bert_config.json": {
        "transformer_task": "feature-extraction",
        "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        "module_output_name": "token_embeddings",
    },
    "config_sentence_transformers.json": {
        "default_prompt_name": None,
        "prompts": {"document": "", "query": ""},
        "similarity_fn_name": "cosine",
    },
}
CORPUS = {
    "_id": ["d1", "d2", "d3", "d4"],
    "title": ["the film", "", "cold", None],
    "text": ["was very good", "a dull story of the end", "and awful plot", "quite a lovely scene"],
}
QUERIES = {"_id": ["1", "2", "3"], "text": ["good film", "lovely scene", "unjudged"]}
QRELS: dict[str, list[Any]] = {"query-id": ["1", "1", "2"], "corpus-id": ["d1", "d2", "d4"], "score": [2, 0, 1]}
GENERATIONS = {"old": OLD, "new": NEW, "plain": {}}


def pairs(count: int, seed: int) -> dict[str, list[Any]]:
    """Made sentences, each with another one and the share of its words that are the same, from 0 to 5."""
    draw, words = random.Random(seed), (*FILLER, *GOOD, *BAD)
    given: dict[str, list[Any]] = {"text": [], "text_pair": [], "label": []}
    for _ in range(count):
        text = draw.choices(words, k=draw.randrange(3, 14))
        other = list(text)
        changed = draw.sample(range(len(text)), draw.randrange(len(text) + 1))
        for place in changed:
            other[place] = draw.choice(words)
        given["text"].append(" ".join(text))
        given["text_pair"].append(" ".join(other))
        given["label"].append(round(5 * (1 - len(changed) / len(text)), 2))
    return given


def encoder(kind: str = "Bert", layers: int = 2) -> Any:
    """A small encoder with random weights: texts with the same words have similar vectors."""
    import torch
    import transformers

    torch.manual_seed(0)
    width = {
        "Bert": {"hidden_size": 32, "num_hidden_layers": layers, "num_attention_heads": 4, "intermediate_size": 64},
        "Roberta": {"hidden_size": 32, "num_hidden_layers": layers, "num_attention_heads": 4, "intermediate_size": 64},
        "MPNet": {"hidden_size": 32, "num_hidden_layers": layers, "num_attention_heads": 4, "intermediate_size": 64},
        "DistilBert": {"dim": 32, "n_layers": layers, "n_heads": 4, "hidden_dim": 64},
    }[kind]
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=64, max_position_embeddings=66, pad_token_id=0, initializer_range=0.2, **width
    )
    return getattr(transformers, f"{kind}Model")(config).eval()


def write_encoder(folder: Path, generation: str = "new", model: Any = None, **files: Any) -> Path:
    """A folder with a model and its tokenizer, and the settings of a generation; `files` replace some of them."""
    (model or encoder()).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    for name, content in {**GENERATIONS[generation], **files}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    return folder


def write_pairs(folder: Path, train: dict[str, list[Any]], test: dict[str, list[Any]]) -> Path:
    """A folder with data as train.parquet and test.parquet."""
    import datasets

    folder.mkdir(parents=True, exist_ok=True)
    for split, data in (("train", train), ("test", test)):
        datasets.Dataset.from_dict(data).to_parquet(folder / f"{split}.parquet")
    return folder


def write_similar(
    folder: Path, generation: str = "new", test: dict[str, list[Any]] | None = None, **changes: Any
) -> Path:
    """A folder with an encoder, data and `similar.yaml`; returns the path of the workload file."""
    from ruamel.yaml import YAML

    if not (folder / "model").exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_encoder(folder / "model", generation)
    write_pairs(folder / "data", pairs(64, 1), test or pairs(60, 2))
    plain: dict[str, Any] = {
        "task": "sentence-similarity",
        "model": "model",
        "dataset": {"path": "data", "text_pair": "text_pair", **changes.pop("dataset", {})},
        "max_length": 24,
        "headline": {"batch_size": 4, "sequence_length": 16},
        **({"pooling": "mean"} if generation == "plain" else {}),
        **changes,
    }
    path = folder / "similar.yaml"
    with path.open("w", encoding="utf-8") as out:
        YAML().dump(plain, out)
    return path


def write_search(
    folder: Path, queries: Any = None, corpus: Any = None, qrels: Any = None, beir: bool = False, **changes: Any
) -> Path:
    """A folder with an encoder, the three tables and `search.yaml`; `beir`: in BEIR's layout."""
    import datasets
    from ruamel.yaml import YAML

    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "model").exists():
        write_encoder(folder / "model", "new")
    (folder / "data" / "qrels").mkdir(parents=True, exist_ok=True)
    for name, rows in (("queries", queries or QUERIES), ("corpus", corpus or CORPUS), ("qrels", qrels or QRELS)):
        table = datasets.Dataset.from_dict(rows)
        if not beir:
            table.to_parquet(folder / "data" / f"{name}.parquet")
        elif name == "qrels":
            table.to_csv(folder / "data" / "qrels" / "test.tsv", sep="\t", index=False)
        else:
            table.to_json(folder / "data" / f"{name}.jsonl")
    if not beir:
        (folder / "data" / "qrels").rmdir()
    plain: dict[str, Any] = {
        "task": "retrieval",
        "model": "model",
        "dataset": {
            "path": "data", "train": None, "test": "queries", "corpus": "corpus", "qrels": "qrels",
            **changes.pop("dataset", {}),
        },
        "max_length": 24,
        "headline": {"batch_size": 1, "sequence_length": 16},
        **changes,
    }  # fmt: skip
    path = folder / "search.yaml"
    with path.open("w", encoding="utf-8") as out:
        YAML().dump(plain, out)
    return path


def searches(queries: int, seed: int) -> dict[str, dict[str, list[Any]]]:
    """Tables of a search: of each query a text with all of its words and one with half of them, and other texts."""
    draw, words = random.Random(seed), (*FILLER, *GOOD, *BAD)
    tables: dict[str, dict[str, list[Any]]] = {
        "queries": {"_id": [], "text": []},
        "corpus": {"_id": [], "title": [], "text": []},
        "qrels": {"query-id": [], "corpus-id": [], "score": []},
    }

    def add(table: str, *row: Any) -> None:
        for column, value in zip(tables[table].values(), row, strict=True):
            column.append(value)

    for number in range(queries):
        query = draw.choices(words, k=draw.randrange(4, 9))
        add("queries", f"q{number}", " ".join(query))
        for grade, given in ((2, query), (1, query[: len(query) // 2]), (0, [])):
            text = [*given, *draw.choices(words, k=3 + 5 * (grade == 0))]
            draw.shuffle(text)
            add("corpus", f"d{number}.{grade}", "", " ".join(text))
            add("qrels", f"q{number}", f"d{number}.{grade}", grade)
    return tables


def sentence_encoder(kind: str = "Bert", pooling: tuple[str, ...] = ("mean",), **prompts: Any) -> Any:
    """A small encoder that pools and normalises, with these prompts of queries and of texts."""
    from compress.data.sentences.encoder import SENTENCE_ENCODER
    from compress.data.sentences.settings import Settings, store

    plain = encoder(kind)
    store(plain.config, Settings(pooling, True, **prompts))
    model = SENTENCE_ENCODER.from_config(plain.config)
    model.load_state_dict(plain.state_dict(), strict=False)
    return model.eval()


def batch_of(texts: list[str]) -> dict[str, Any]:
    """The inputs of an encoder for these texts."""
    batch = tokenizer()(texts, padding=True, return_tensors="pt")
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def vectors(model: Any, texts: list[str]) -> Any:
    """The vectors [texts, width] that a model gives."""
    import torch

    with torch.no_grad():
        return model(**batch_of(texts)).logits


STEPS: dict[str, Step] = {
    "int4": Quantize(bits=4, group_size=32),
    "gptq": Quantize(bits=4, group_size=32, rounding="gptq"),
    "feed-forward": Prune(structure="feed_forward", fraction=0.25, importance="taylor"),
    "heads": Prune(structure="heads", fraction=0.25, importance="obd"),
    "layers": Prune(structure="layers", fraction=0.5, importance="influence"),
    "weights": Prune(structure="unstructured", fraction=0.3, importance="wanda"),
    "low rank": LowRank(rank=12, weighting="fisher"),
    "student": Distill(keep=0.5, hidden_weight=1.0, attention_weight=1.0, max_steps=3, batch_size=8),
    "remembered": Distill(max_steps=12, batch_size=16),
}
"""Steps that apply to a sentence encoder."""
