"""Small encoder-decoders of four families, and made sentences with their translations, word by word."""

import random
from pathlib import Path
from typing import Any

WORDS = {
    "the": "das", "house": "Haus", "red": "rote", "small": "kleine", "river": "Wasser", "sees": "sieht",
    "child": "Kind", "and": "und", "old": "alte", "book": "Buch", "reads": "liest", "in": "in", "a": "ein",
    "garden": "Gartenland", "is": "ist", "green": "grün",
}  # fmt: skip
NOUNS, VERBS, KINDS = ("house", "river", "child", "book", "garden"), ("sees", "reads", "is"), ("red", "small", "old")
FAMILIES = ("t5", "bart", "marian", "pegasus")
SPECIAL = ("<pad>", "</s>", "<unk>", "<s>")


def pairs(count: int, seed: int, wrong: float = 0.0) -> list[dict[str, str]]:
    """Made sentences with their translations; a share has the translation of another sentence."""
    draw = random.Random(seed)

    def part() -> list[str]:
        kind = [draw.choice(KINDS)] if draw.random() < 0.6 else []
        return [draw.choice(("the", "a")), *kind, draw.choice(NOUNS)]

    found = []
    for _ in range(count):
        words = [*part(), draw.choice(VERBS), *part()]
        words += ["and", *part()] if draw.random() < 0.4 else []
        found.append({"en": " ".join(words) + ".", "de": " ".join(WORDS[word] for word in words) + "."})
    moved = [draw.random() < wrong for _ in found]
    return [{**pair, "de": found[place - 1]["de"] if moved[place] else pair["de"]} for place, pair in enumerate(found)]


def tokenizer(begins: bool = False) -> Any:
    """A tokenizer of whole words; with `begins` it puts <s> before a text, as BART's."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = sorted({*WORDS, *WORDS.values(), "translate"})
    listed = list(dict.fromkeys([*SPECIAL, *(f"▁{word}" for word in words), *words, ".", ":", "▁.", "▁:"]))
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(listed)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()]  # "▁Haus" "."
    )
    inner.decoder = decoders.Metaspace()
    first = "<s> " if begins else ""
    inner.post_processor = processors.TemplateProcessing(
        single=f"{first}$A </s>", special_tokens=[("</s>", 1), ("<s>", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", bos_token="<s>",
        model_max_length=64, clean_up_tokenization_spaces=False,
    )  # fmt: skip


def encoder_decoder(family: str = "t5", layers: int = 2, width: int = 32) -> Any:
    """A small model of a family with random weights."""
    import torch
    import transformers

    torch.manual_seed(0)
    size = len(tokenizer())
    if family == "t5":
        config = transformers.T5Config(
            vocab_size=size, d_model=width, d_kv=8, d_ff=64, num_layers=layers, num_heads=4, dropout_rate=0.0,
            feed_forward_proj="relu", decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
        )  # fmt: skip
        return transformers.T5ForConditionalGeneration(config).eval()
    kind = {"bart": "Bart", "marian": "Marian", "pegasus": "Pegasus"}[family]
    own = {"bart": {"decoder_start_token_id": 1, "bos_token_id": 3, "forced_bos_token_id": 3}}.get(
        family, {"decoder_start_token_id": 0, "bos_token_id": None}
    )
    fields: dict[str, Any] = {
        "vocab_size": size, "d_model": width, "encoder_layers": layers, "decoder_layers": layers,
        "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64,
        "max_position_embeddings": 64, "pad_token_id": 0, "eos_token_id": 1, "forced_eos_token_id": 1, "dropout": 0.0,
        "attention_dropout": 0.0, "activation_dropout": 0.0, **own,
    }  # fmt: skip
    if family == "marian":
        fields["decoder_vocab_size"] = size
    config = getattr(transformers, f"{kind}Config")(**fields)
    model = getattr(transformers, {"marian": "MarianMTModel"}.get(family, f"{kind}ForConditionalGeneration"))(config)
    return model.eval()


def trained(family: str = "t5", steps: int = 300, prompt: str = "", **size: int) -> Any:
    """The same, trained with transformers' own loss until it translates most sentences."""
    import torch

    model, tokens = encoder_decoder(family, **size).train(), tokenizer(begins=family == "bart")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(steps):
        rows = pairs(32, seed=1000 + step)
        batch = tokens([prompt + row["en"] for row in rows], padding=True, return_tensors="pt")
        targets = tokens(text_target=[row["de"] for row in rows], padding=True, return_tensors="pt")
        labels = targets["input_ids"].masked_fill(targets["attention_mask"] == 0, -100)
        loss = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def write_translated(folder: Path, model: Any = None, family: str = "t5", **changes: Any) -> Path:
    """A folder with a model, data in the column `translation`, and `my.yaml`; returns the path of the workload."""
    import datasets
    from ruamel.yaml import YAML

    folder.mkdir(parents=True, exist_ok=True)
    (model or trained(family)).save_pretrained(folder / "model")
    tokenizer(begins=family == "bart").save_pretrained(folder / "model")
    (folder / "data").mkdir(exist_ok=True)
    for split, count, seed in (("train", 96, 1), ("test", 40, 2)):
        rows = [{"translation": pair} for pair in pairs(count, seed, wrong=0.1)]
        datasets.Dataset.from_list(rows).to_json(folder / "data" / f"{split}.jsonl")
    plain: dict[str, Any] = {
        "task": "translation",
        "model": "model",
        "dataset": {"path": "data", "text": "translation.en", "target": "translation.de"},
        "max_length": 32,
        "generation": {"max_new_tokens": 24},
        "headline": {"batch_size": 2, "context": 16, "new_tokens": 4, "phase": "decode"},
        **changes,
    }
    path = folder / "my.yaml"
    with path.open("w", encoding="utf-8") as out:
        YAML().dump(plain, out)
    return path
