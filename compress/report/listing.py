"""Lists for a terminal: all methods with their fields, all recipes, or all workloads. Markup in names is text."""

from collections.abc import Iterable, Sequence
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from rich.table import Table
from rich.text import Text

from compress.base.config import Config

if TYPE_CHECKING:
    from rich.console import Console

    from compress.data.workload import Workload
    from compress.spec.shipped import Shipped


def print_methods(steps: Sequence[type[Config]], console: "Console") -> None:
    """Print every method with its fields: name, type, default and description."""
    for step in steps:
        console.print(Text(f"{step.model_fields['method'].default}: {step.__doc__}"), soft_wrap=True)
        table = Table("field", "type", "default", "what it does", box=None, padding=(0, 1))
        for row in fields(step):
            table.add_row(*map(Text, row))
        console.print(table)
        console.print()


def fields(step: type[Config]) -> Iterable[tuple[str, str, str, str]]:
    """Yield name, type, default and description of every field of a step."""
    for name, field in step.model_fields.items():
        if name != "method":
            default = "required" if field.is_required() else _plain(field.get_default(call_default_factory=True))
            yield name, _kind(field.annotation), default, field.description or ""


def _kind(annotation: Any) -> str:
    """Return a type in words."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(inside[0])
    if origin is Literal:
        return f"one of {', '.join(map(str, inside))}"
    if origin in (Union, UnionType):
        return " or ".join(_kind(member) for member in inside if member is not type(None))
    if origin is tuple:
        return f"list of {_kind(inside[0])}"
    if origin is dict:
        return f"mapping of {_kind(inside[0])} to {_kind(inside[1])}"
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).removeprefix("typing.")


def _plain(value: Any) -> str:
    """Return a default as written in YAML."""
    if value in (None, "", {}):
        return "unset"
    if isinstance(value, Config):
        return "its own defaults"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def print_recipes(recipes: "Sequence[Shipped]", console: "Console") -> None:
    """Print every shipped recipe in one line: its name, sentence, devices, format and runtime."""
    width = max(len(recipe.name) for recipe in recipes)
    for recipe in recipes:
        console.print(Text(f"{recipe.name:{width}}  {recipe.sentence} {recipe.place}."), soft_wrap=True)


def print_workloads(workloads: "Sequence[Workload]", console: "Console") -> None:
    """Print name, task, metric, model and data of every shipped workload; lines wrap, so that ids are never cut."""
    for w in workloads:
        model, data = (
            f"{place} at {revision}" if revision else place
            for place, revision in ((w.model, w.revision), (w.dataset.path, w.dataset.revision))
        )
        for line in (f"{w.name}: {w.task}, {w.metric_source}", f"  model {model}", f"  data {data}"):
            console.print(Text(line), soft_wrap=True)
