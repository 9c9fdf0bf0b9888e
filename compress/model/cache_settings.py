"""The cache that a recipe's `kv_cache` asks for: int8 and int4 round it, static allocates it in full."""

from typing import Any


def refusal(model: Any, kv_cache: str) -> str | None:
    """Return why a model cannot keep its cache like this, and what to do; None if it can."""
    from compress.model import rounded_cache, static_cache

    return static_cache.refusal(model) if kv_cache == "static" else rounded_cache.refusal(model, kv_cache)


def with_cache(model: Any, kv_cache: str, runtime: str) -> Any:
    """Return a language model with this cache, compiled under runtime compile. Raises InputError if it has none."""
    from compress.model import rounded_cache, static_cache

    if kv_cache == "static":
        return static_cache.with_static_cache(model, compiled=runtime == "compile")
    return rounded_cache.with_rounded_cache(model, kv_cache)
