"""Recipes that are the reference of their verdict itself: their ratio to it shows the error of the session."""

from compress.records.result import Result


def same_as_reference(result: Result) -> str | None:
    """Return the name of the verdict's reference if the recipe makes that very model, else None.

    It does if it only casts to the reference's precision, with its runtime, attention, cache and padding.
    """
    reference, recipe = result.verdict_reference, result.recipe
    steps = recipe.get("steps", ())
    if reference is None or result.error is not None or any(step.get("method") != "cast" for step in steps):
        return None
    if result.runtime not in ("", "eager"):
        return None
    if recipe.get("padding") == "fixed" or any(
        (recipe.get(key) or "auto") != "auto" for key in ("attention", "kv_cache")
    ):
        return None
    dtype = steps[-1].get("dtype") if steps else "fp32"
    return reference.name if reference.name == f"{dtype} eager" else None


def same_words(result: Result) -> str | None:
    """Return the note on such a recipe."""
    name = same_as_reference(result)
    return name and f"{result.name} is the reference {name} itself: its ratio shows this session's error"
