"""A small model that finds answers, made contexts with questions in SQuAD's form, and a tokenizer of their words."""

import random
from pathlib import Path
from typing import Any

FIRST, LAST = ("clara", "robert", "felix", "fanny"), ("wieck", "mozart", "hensel", "gade")
CITIES = ("salzburg", "leipzig", "vienna", "berlin", "aarhus", "weimar")
FILLER = ("the", "old", "house", "near", "a", "river", "and", "was", "born", "music", "of", "winter")
WHO, WHERE = "who lives there ?", "in which city ?"
WORDS = (*FIRST, *LAST, *CITIES, *FILLER, *sorted({*WHO.split(), *WHERE.split()} - {"the"}), "lives", ".")


def tokenizer(kind: Any = None) -> Any:
    """A tokenizer of whole words that joins question and context with token types 0 and 1."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = list(dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]))
    inner = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return (kind or PreTrainedTokenizerFast)(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=64, model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


def questions(count: int, seed: int, unanswerable: float = 0.0, unknown: float = 0.0) -> list[dict[str, Any]]:
    """Made questions about people and cities in contexts of 8 to 30 words.

    A share is `unanswerable`: what is asked is left out. A share of the answers is moved to another word, so that no
    model is always right.
    """
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        words = draw.choices(FILLER, k=draw.randrange(5, 26))
        asked = WHO if draw.random() < 0.5 else WHERE
        person, city = f"{draw.choice(FIRST)} {draw.choice(LAST)}", draw.choice(CITIES)
        missing = draw.random() < unanswerable
        parts = [part for part, of in ((person, WHO), (city, WHERE)) if not (missing and of == asked)]
        for part in parts:
            words.insert(draw.randrange(len(words) + 1), part)
        context = " ".join(words).capitalize() + "."
        answer = person if asked == WHO else city
        start = context.lower().find(answer)
        texts = [] if missing else [context[start : start + len(answer)]]
        if texts and draw.random() < unknown:
            start, texts = 0, [context.split()[0]]
        answers = {"text": texts, "answer_start": [start] * len(texts)}
        rows.append(
            {"id": str(number), "title": "made", "context": context, "question": asked, "answers": answers}
        )  # fmt: skip
    return rows


def reader(layers: int = 2, kind: str = "Bert") -> Any:
    """A small model with random weights."""
    import torch
    import transformers

    torch.manual_seed(0)
    width = {
        "Bert": {"hidden_size": 32, "num_hidden_layers": layers, "num_attention_heads": 4, "intermediate_size": 64},
        "DistilBert": {"dim": 32, "n_layers": layers, "n_heads": 4, "hidden_dim": 64},
    }[kind]
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=64, max_position_embeddings=64, pad_token_id=0, **width
    )  # fmt: skip
    return getattr(transformers, f"{kind}ForQuestionAnswering")(config).eval()


def trained_reader(steps: int = 60, unanswerable: float = 0.2) -> Any:
    """The same, trained with transformers' own loss until it finds most made answers."""
    import torch

    model, tokens = reader().train(), tokenizer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(steps):
        rows = questions(32, seed=1000 + step, unanswerable=unanswerable)
        batch = tokens([r["question"] for r in rows], [r["context"] for r in rows], padding=True, return_tensors="pt")
        places = []
        for row, made in enumerate(rows):
            texts, starts = made["answers"]["text"], made["answers"]["answer_start"]
            ends = (starts[0], starts[0] + len(texts[0]) - 1) if texts else ()
            places.append([batch.char_to_token(row, each, 1) for each in ends] or [0, 0])
        first, last = torch.tensor(places).T
        loss = model(**batch, start_positions=first, end_positions=last).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def write_asked(folder: Path, model: Any = None, unanswerable: float = 0.2, **changes: Any) -> Path:
    """A folder with a model, data and `asked.yaml`; returns the path of the workload file."""
    import datasets
    from ruamel.yaml import YAML

    folder.mkdir(parents=True, exist_ok=True)
    (model or trained_reader()).save_pretrained(folder / "model")
    tokenizer().save_pretrained(folder / "model")
    (folder / "data").mkdir(exist_ok=True)
    for split, count, seed in (("train", 96, 1), ("test", 60, 2)):
        rows = questions(count, seed, unanswerable, unknown=0.1)
        datasets.Dataset.from_list(rows).to_parquet(folder / "data" / f"{split}.parquet")
    plain: dict[str, Any] = {
        "task": "question-answering",
        "model": "model",
        "dataset": {"path": "data", "text": "question", "text_pair": "context", "label": "answers"},
        "max_length": 32,
        "doc_stride": 10,
        "headline": {"batch_size": 4, "sequence_length": 16},
        **changes,
    }
    path = folder / "asked.yaml"
    with path.open("w", encoding="utf-8") as out:
        YAML().dump(plain, out)
    return path
