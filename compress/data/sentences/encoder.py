"""The model of a sentence encoder: a transformers model whose forward pass ends with pooling and normalisation.

    BertModel.forward -> last_hidden_state [batch, length, width] -> pooled -> normalised -> logits [batch, width]

Each encoder class derives from the class of transformers and keeps its name, its modules and its parameters. Saved
weights therefore load with AutoModel and with sentence-transformers. A pooler, which no pooling reads, is left out.
"""

import inspect
from collections.abc import Collection
from functools import cache, wraps
from typing import Any

import torch

from compress.base.config import InputError
from compress.data.auto_class import AutoClass
from compress.data.sentences.pooling import normalized, pooled
from compress.data.sentences.settings import FIELD, Settings, encodes_texts, stored


def class_of(config: Any, trust_remote_code: bool = False) -> Any:
    """Return the class of a configuration's encoder. Raises InputError for models that are not plain encoders."""
    from transformers import MODEL_MAPPING

    if getattr(config, "is_encoder_decoder", False):
        raise InputError(f"is a {config.model_type}, an encoder-decoder; expected an encoder of texts")
    if not encodes_texts(config.to_dict()):
        raise InputError(f"is a {config.model_type}, which reads pictures or sound; expected an encoder of texts")
    if type(config) not in MODEL_MAPPING or (trust_remote_code and hasattr(config, "auto_map")):
        raise InputError(f"{config.model_type}: sentence encoders with code of their own are not supported")
    return encoder_of(MODEL_MAPPING[type(config)])


SENTENCE_ENCODER = AutoClass(class_of)
"""The Auto class of sentence encoders."""


@cache
def encoder_of(base: Any) -> type:
    """Return the encoder class of a transformers model class, always the same one."""
    from transformers.modeling_outputs import SequenceClassifierOutput

    without_pooler = {"add_pooling_layer": False} if "add_pooling_layer" in _parameters(base.__init__) else {}
    without_cache = {"use_cache": False} if "use_cache" in _parameters(base.forward) else {}

    def initialise(self: Any, config: Any, *args: Any, **how: Any) -> None:
        base.__init__(self, config, *args, **{**how, **without_pooler})
        self.sentence_settings = stored(config)

    @wraps(base.forward)
    def forward(self: Any, input_ids: Any = None, attention_mask: Any = None, **given: Any) -> Any:
        given = {**without_cache, **given}
        found = base.forward(self, input_ids=input_ids, attention_mask=attention_mask, **given)
        states = found.last_hidden_state
        settings = self.sentence_settings
        if settings is None and not states.is_meta:  # traces of empty models need only shapes
            raise InputError(f"the model's configuration has no {FIELD}: its pooling is unknown")
        settings = settings or Settings(("mean",))
        vectors = pooled(states, _mask(states, attention_mask), settings.pooling, settings.skipped)
        return SequenceClassifierOutput(
            logits=normalized(vectors) if settings.normalize else vectors,
            hidden_states=found.get("hidden_states"),
            attentions=found.get("attentions"),
        )

    members = {
        "__init__": initialise,
        "forward": forward,
        "__module__": base.__module__,
        "__doc__": base.__doc__,
        "_keys_to_ignore_on_load_unexpected": [*(base._keys_to_ignore_on_load_unexpected or ()), r"(^|\.)pooler\."],
    }
    return type(base)(base.__name__, (base,), members)


def _mask(states: torch.Tensor, given: torch.Tensor | None) -> torch.Tensor:
    """Return the mask [batch, length] of real tokens. Raises ValueError for a mask of pairs of tokens.

    Traces of empty models have such a mask, of zeros, which masks nothing.
    """
    if given is not None and given.dim() == 2:
        return given
    if given is not None and not given.is_meta:
        raise ValueError(f"attention_mask has {given.dim()} dimensions; pooling expects 2: 1 at real tokens")
    return torch.ones(states.shape[:2], dtype=torch.long, device=states.device)


def _parameters(function: Any) -> Collection[str]:
    return inspect.signature(function).parameters
