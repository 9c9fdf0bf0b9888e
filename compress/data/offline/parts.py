"""Shared parts of the offline workloads: model sizes, a reproducible tokenizer, writing the folder."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Size and training length of a model."""

    hidden: int = 192
    layers: int = 4
    heads: int = 6
    intermediate: int = 768
    batch: int
    steps: int
    learning_rate: float
    seed: int = 0

    def architecture(self) -> dict[str, int]:
        """Return the sizes by the names of a transformers configuration."""
        return {
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "intermediate_size": self.intermediate,
        }


@dataclass(frozen=True, kw_only=True)
class TextSizes(Sizes):
    """Size and training length of a text model."""

    vocabulary: int
    length: int
    """Longest text, in tokens."""
    train_length: int
    """Length of training crops in tokens; short crops allow more steps in the same time."""


def make_tokenizer(
    texts: Iterable[str], sizes: TextSizes, special: Sequence[str], templates: Mapping[str, str], **names: Any
) -> Any:
    """Return a byte-level BPE tokenizer trained on the texts. It is lossless, spaces included.

    It is not WordPiece: `tokenizers` numbers its continuation pieces in hash table order, so that two trainings on the
    same texts differ. `templates` has single (and pair); `names` assigns the special tokens their roles.
    """
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=sizes.vocabulary,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(texts, trainer)
    template = processors.TemplateProcessing(
        **templates, special_tokens=[(token, index) for index, token in enumerate(special)]
    )
    inner.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=sizes.length, **names)


def seeded(make: Callable[[], Any], seed: int) -> Any:
    """Return the result of `make` with torch's generator seeded; the caller's random state is restored."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def write(folder: Path, model: Any, processor: Any, **tables: Any) -> None:
    """Write model/ and data/NAME.parquet into `folder`; `tables` are datasets by their names."""
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    for name, table in tables.items():
        table.to_parquet(folder / "data" / f"{name}.parquet")
