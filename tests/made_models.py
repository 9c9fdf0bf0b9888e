"""Tiny models of every supported architecture with random weights, and batches for them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import transformers

from compress.model.bundle import Bundle
from tests.helpers import sentences, tokenizer

SIZES = {"vocab_size": 64, "max_position_embeddings": 66}


def bert(layers: int = 2) -> Any:
    """BERT: width 32, 4 heads, feed-forward 64, 2 classes."""
    return random_model(
        transformers.BertForSequenceClassification,
        transformers.BertConfig(
            **SIZES, hidden_size=32, num_hidden_layers=layers, num_attention_heads=4, intermediate_size=64
        ),
    )


def roberta(layers: int = 2) -> Any:
    """RoBERTa of the same size."""
    return random_model(
        transformers.RobertaForSequenceClassification,
        transformers.RobertaConfig(
            **SIZES,
            hidden_size=32,
            num_hidden_layers=layers,
            num_attention_heads=4,
            intermediate_size=64,
            pad_token_id=0,
        ),
    )


def distilbert(layers: int = 2) -> Any:
    """DistilBERT of the same size."""
    return random_model(
        transformers.DistilBertForSequenceClassification,
        transformers.DistilBertConfig(**SIZES, dim=32, n_layers=layers, n_heads=4, hidden_dim=64),
    )


def vit(layers: int = 2) -> Any:
    """ViT of the same size on 8 x 8 grey images, 5 classes."""
    return random_model(
        transformers.ViTForImageClassification,
        transformers.ViTConfig(
            hidden_size=32, num_hidden_layers=layers, num_attention_heads=4, intermediate_size=64, image_size=8,
            patch_size=4, num_channels=1, num_labels=5,
        ),
    )  # fmt: skip


def llama(layers: int = 2, tied: bool = True) -> Any:
    """Llama with grouped-query attention: 8 query heads share 4 key/value heads."""
    return random_model(
        transformers.LlamaForCausalLM,
        transformers.LlamaConfig(
            **SIZES, hidden_size=32, num_hidden_layers=layers, num_attention_heads=8, num_key_value_heads=4,
            intermediate_size=64, tie_word_embeddings=tied, bos_token_id=2, eos_token_id=3, pad_token_id=0,
        ),
    )  # fmt: skip


def gpt2(layers: int = 2) -> Any:
    """GPT-2: linear layers stored transposed, query, key and value in one."""
    return random_model(
        transformers.GPT2LMHeadModel,
        transformers.GPT2Config(
            vocab_size=64,
            n_positions=66,
            n_embd=32,
            n_layer=layers,
            n_head=4,
            n_inner=64,
            bos_token_id=2,
            eos_token_id=3,
        ),
    )


def resnet() -> Any:
    """ResNet: two stages of basic blocks on grey images, 5 classes."""
    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        num_channels=1, embedding_size=16, hidden_sizes=[16, 32], depths=[2, 2], layer_type="basic", num_labels=5
    )
    return transformers.ResNetForImageClassification(config).eval()


MODELS: dict[str, Callable[..., Any]] = {
    "bert": bert, "roberta": roberta, "distilbert": distilbert, "vit": vit, "llama": llama, "gpt2": gpt2,
}  # fmt: skip


def random_model(kind: Any, config: Any) -> Any:
    """A model of this kind and configuration, with random weights, in eval mode."""
    torch.manual_seed(0)
    model = kind(config)
    with torch.no_grad():
        for parameter in model.parameters():  # biases and norms too: a cut that forgets one must change the output
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def inputs(model: Any) -> dict[str, torch.Tensor]:
    """A batch of two without labels, the second text padded."""
    generator = torch.Generator().manual_seed(1)
    if model.main_input_name == "pixel_values":
        return {"pixel_values": torch.rand(2, 1, 8, 8, generator=generator)}
    ids = torch.randint(4, 64, (2, 10), generator=generator)
    mask = torch.ones_like(ids)
    ids[1, 7:], mask[1, 7:] = 0, 0
    return {"input_ids": ids, "attention_mask": mask}


def logits(model: Any) -> torch.Tensor:
    """Its answer to `inputs`."""
    with torch.no_grad():
        answer: torch.Tensor = model(**inputs(model)).logits
    return answer


def rows_gone(before: torch.Tensor, after: torch.Tensor) -> list[int]:
    """The places of the rows of a matrix that another one, cut from it, lacks."""
    return [place for place, row in enumerate(before) if not any(torch.equal(row, other) for other in after)]


def text_examples(count: int = 64, seed: int = 0) -> Any:
    """Made sentences, tokenised and labelled."""
    import datasets

    data = sentences(count, seed)
    encoded = tokenizer()(data["text"])
    return datasets.Dataset.from_dict({**data, "labels": data["label"], "input_ids": encoded["input_ids"]})


def bundle(model: Any, **changes: Any) -> Bundle:
    """A bundle on the CPU around a text classifier, with made training sentences."""
    plain = Bundle(model, tokenizer(), "text-classification", torch.device("cpu"), train=text_examples)
    return replace(plain, **changes)


def trainable(model: Any) -> Bundle:
    """A bundle around any of these models, with made training examples of its own task."""
    import datasets

    if model.main_input_name == "pixel_values":
        pixels = torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(2)).tolist()
        examples = datasets.Dataset.from_dict({"pixel_values": pixels, "labels": [i % 5 for i in range(24)]})
        return bundle(model, task="image-classification", processor=None, train=lambda: examples)
    if hasattr(model.config, "num_labels") and "Sequence" in type(model).__name__:
        return bundle(model)
    ids = torch.randint(4, 64, (24, 12), generator=torch.Generator().manual_seed(2)).tolist()
    return bundle(
        model, task="causal-lm", train=lambda: datasets.Dataset.from_dict({"input_ids": ids, "context": [1] * 24})
    )
