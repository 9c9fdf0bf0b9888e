"""Statements of a model on itself: licence and base model, from the YAML head of its README.md or from config.json.

They are recorded for the card of the compressed model. What a model does not state is left out, never guessed.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.base import reading
from compress.base.errors import InputError
from compress.base.yaml import parse_yaml
from compress.data.checkpoints import config_of
from compress.data.hub import is_id

STATED = "model_stated"
"""Key of `workload.resolved`: what the model states of itself."""
README = "README.md"
MOST_BYTES = 4_000_000
LONGEST = 200
HEAD = re.compile(r"\A\s*---\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
"""The head of a card, as the hub recognizes it."""
UNSTATED = frozenset({"", "unknown", "none"})
"""Texts of a licence field that state none."""


def stated(folder: Path) -> dict[str, Any]:
    """Return license, license_name, license_link and base_model as far as a model's folder states them.

    The card's licence counts, else that of config.json. A link is kept if it leads to the web: a file beside the
    card is not part of an artifact.
    """
    head = _head(folder / README)
    config, _ = config_of(folder)
    return checked({**head, "license": _licence(head.get("license")) or (config or {}).get("license")})


def checked(head: Mapping[str, Any]) -> dict[str, Any]:
    """Return the statements of a card's head, or of a result, that have the expected form."""
    found = {
        "license": _licence(head.get("license")),
        "license_name": _text(head.get("license_name")),
        "license_link": _link(head.get("license_link")),
        "base_model": _ids(head.get("base_model")),
    }
    return {name: value for name, value in found.items() if value}


def _head(file: Path) -> Mapping[str, Any]:
    """Return the head of a card; empty without a card, or for one whose head is not a mapping in YAML."""
    try:
        text = reading.content(file, "card", MOST_BYTES).decode("utf-8-sig")
        found = HEAD.match(text)
        return {} if found is None else parse_yaml(found.group(1), str(file))[0]
    except (InputError, UnicodeDecodeError):
        return {}


def _text(value: object) -> str | None:
    """Return a short text on one line; None for anything else."""
    text = value.strip() if isinstance(value, str) else ""
    return text if 0 < len(text) <= LONGEST and text.isprintable() else None


def _licence(value: object) -> str | None:
    text = _text(value)
    return None if text is None or text.lower() in UNSTATED else text


def _link(value: object) -> str | None:
    text = _text(value)
    return text if text is not None and text.startswith(("https://", "http://")) else None


def _ids(value: object) -> str | list[str] | None:
    """Return a hub id, or several of them."""
    listed = value if isinstance(value, list) else [value]
    ids = [item for item in listed if isinstance(item, str) and is_id(item)]
    return None if not ids else ids if len(ids) > 1 else ids[0]
