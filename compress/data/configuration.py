"""The configuration of a model as transformers reads it, with fields that change the output format reset."""

from typing import Any

from compress.base.errors import as_input_error
from compress.data.checkpoints.settings import PARTS

PLAIN_ANSWER = {
    "return_dict": True,
    "torchscript": False,
    "output_attentions": False,
    "output_hidden_states": False,
    "chunk_size_feed_forward": 0,
}
"""Fields of a configuration that change the output format or the computation, but no logit."""


def load(location: str, **options: Any) -> Any:
    """Return the configuration of a model by folder or hub id. Raises InputError if it describes no model."""
    import transformers

    with as_input_error(lambda reason: f"config.json does not describe a model known to transformers ({reason})"):
        config = transformers.AutoConfig.from_pretrained(location, **options)
    for part in (config, *(getattr(config, name) for name in PARTS if hasattr(config, name))):
        for name, value in PLAIN_ANSWER.items():
            if hasattr(part, name):
                setattr(part, name, value)
    return config
