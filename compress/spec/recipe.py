"""A recipe: which workload, which steps in which order, what executes the result, how it is measured, which seed.

`Recipe.load("bert_int8")` finds shipped recipes by name wherever the package is installed, and files by path.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

import recipes as shipped
from compress.base.config import (
    NAME,
    Config,
    InputError,
    Source,
    check_name,
    did_you_mean,
    digest,
    parse_yaml,
    read_text,
    set_path,
    validate,
)
from compress.base.reading import exists, shortened
from compress.spec.measure import Measure
from compress.spec.order import order_problems
from compress.spec.steps import Step

MOST_ORDERS = 6
MOST_SEARCHED = 6  # steps: 720 permutations
LONGEST_SUFFIX = 48  # of a row's name: more overrides than that say are told by a digest


class Recipe(Config):
    """An ordered list of steps, the runtime, and how to measure."""

    name: str = "recipe"
    """Name of the row; the file's name when loaded from one."""
    workload: str = "stdlib-bert"
    """Model and data it runs on unless told otherwise: a name or a YAML file."""
    steps: tuple[Step, ...] = ()
    """What is done to the model, in this order; none leaves it dense."""
    order: Literal["given", "search"] = "given"
    """Take the steps as written; or try every order that can work, each a row of its own, at most 6 of them."""
    runtime: Literal["auto", "eager", "compile", "onnxruntime", "tensorrt", "openvino"] = "auto"
    """What executes the model; auto takes what the format needs, and eager for plain models."""
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = "auto"
    """How attention is computed: in plain operators, by torch's fused kernel, or by the flash-attn package (half
    precision, CUDA); auto leaves transformers' choice, which is sdpa wherever the architecture has it."""
    padding: Literal["dynamic", "fixed"] = "dynamic"
    """Pad a batch of texts to its longest; or every batch to the workload's max_length, as deployments with fixed
    shapes do, which CUDA graphs need (runtime compile). Text classification only."""
    measure: Measure = Measure()
    """A profile's name, or settings by name."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of everything random."""

    @field_validator("measure", mode="before")
    @classmethod
    def _profile_by_name(cls, value: Any) -> Any:
        return {"profile": value} if isinstance(value, str) else value

    @field_validator("name")
    @classmethod
    def _name_is_a_file_name(cls, value: str) -> str:
        return check_name(value, "recipe")

    @field_validator("steps")
    @classmethod
    def _order_can_work(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        problems = order_problems(value)
        if problems:
            raise ValueError("; ".join(problems))
        return value

    @model_validator(mode="after")
    def _orders_can_be_tried(self) -> "Recipe":
        if self.order == "search" and len(self.steps) > MOST_SEARCHED:
            raise ValueError(
                f"order search: {len(self.steps)} steps; expected {MOST_SEARCHED} at most; write the order out"
            )
        if self.order == "search" and not 2 <= len(self.orders) <= MOST_ORDERS:
            raise ValueError(
                f"order search: its steps can be put in {len(self.orders)} orders that work; expected 2 to "
                f"{MOST_ORDERS}; write the order out"
            )
        return self

    @property
    def trains(self) -> bool:
        """Whether a step trains, which several processes can do together."""
        return any(step.method == "distill" for step in self.steps)

    @property
    def orders(self) -> "tuple[Recipe, ...]":
        """The recipe itself; under order search one for every order of its steps that can work, named after them."""
        if self.order == "given":
            return (self,)
        found: dict[tuple[Any, ...], Recipe] = {}
        for steps in itertools.permutations(self.steps):
            if not order_problems(steps):
                words = "-".join(f"{step.method}{self.steps.index(step)}" for step in steps)
                found[tuple(step.model_dump_json() for step in steps)] = self.model_copy(
                    update={"steps": steps, "order": "given", "name": f"{self.name}-{words}"}
                )
        return tuple(found.values())

    @classmethod
    def load(cls, name_or_path: str | Path, overrides: Sequence[tuple[str, Any]] = ()) -> "Recipe":
        """The recipe of this name or file, with `path=value` overrides applied before it is checked."""
        path = find(str(name_or_path))
        data, source = parse_yaml(read_text(path, "recipe"), str(path))
        return cls.from_data(data, source, default_name=path.stem, overrides=overrides)

    @classmethod
    def from_data(
        cls, data: Mapping[str, Any], source: Source, default_name: str, overrides: Sequence[tuple[str, Any]] = ()
    ) -> "Recipe":
        """A recipe from plain data; problems are reported against `source`."""
        changed = {"name": default_name, **data}
        if isinstance(changed.get("measure"), str) and any(path.startswith("measure.") for path, _ in overrides):
            changed["measure"] = {"profile": changed["measure"]}
        source = replace(source, assigned=dict(overrides))
        for path, value in sorted(overrides, key=lambda change: change[0] != "measure"):  # a profile, then its settings
            whole = path == "measure" and isinstance(value, str)
            set_path(changed, path, {"profile": value} if whole else value)
        if not any(path == "name" for path, _ in overrides) and isinstance(changed["name"], str):
            said = "".join(_suffix(changed, path, value) for path, value in dict(overrides).items())
            changed["name"] += said if len(said) <= LONGEST_SUFFIX else f"-{digest(said)[:8]}"
        return validate(cls, changed, source)

    def dump(self) -> str:
        """YAML that loads to an equal recipe."""
        import io

        from ruamel.yaml import YAML

        yaml = YAML()
        yaml.default_flow_style = False
        out = io.StringIO()
        yaml.dump(self.model_dump(mode="json"), out)
        return out.getvalue()

    @property
    def fingerprint(self) -> str:
        """16 hex digits of everything that changes what comes out; the name does not."""
        return digest(self.model_dump(mode="json", exclude={"name"}))

    @property
    def transform_fingerprint(self) -> str:
        """The same, without what only changes how it is measured."""
        return digest(self.model_dump(mode="json", exclude={"name", "measure", "workload"}))

    def __repr__(self) -> str:
        """Short: what is set in every step; `dump()` gives the whole."""
        steps = []
        for step in self.steps:
            settings = (f"{name}={getattr(step, name)!r}" for name in sorted(step.model_fields_set - {"method"}))
            steps.append(f"{step.method}({', '.join(settings)})")
        return f"<Recipe {self.name}: {', then '.join(steps) or 'no steps'}; runtime {self.runtime}>"

    def __rich__(self) -> Any:
        from rich.syntax import Syntax

        return Syntax(self.dump().rstrip(), "yaml", background_color="default")

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.dump())}</pre>"


def _suffix(data: Mapping[str, Any], path: str, value: Any) -> str:
    """What an override adds to the row's name: `-bits-4`. One that only says where and how to measure adds nothing."""
    first, *rest = path.split(".")
    if first in ("measure", "workload", "order"):
        return ""
    if first == "steps":
        only = isinstance(data["steps"], list) and len(data["steps"]) == 1
        path = ".".join(rest[1:] if only else rest)
    return "".join(f"-{word if NAME.fullmatch(word) else digest(word)[:6]}" for word in (path, str(value)))


def find(name: str) -> Path:
    """The file of a recipe given by path, or by the name of a shipped one."""
    path = Path(name)
    if exists(path) or path.suffix in (".yaml", ".yml") or "/" in name:
        if not exists(path) and path.suffix in (".yaml", ".yml"):
            beside = shipped.path(path.stem) if path.parent.name in ("", "recipes") else None
            if beside is not None:  # `recipes/bert_int8.yaml` works outside a checkout too
                return beside
        return path
    found = shipped.path(name) if NAME.fullmatch(name) else None
    if found is None:
        raise InputError(
            f"{shortened(name)}: no such file and no shipped recipe{did_you_mean(name, shipped.names())}; shipped are: "
            f"{', '.join(shipped.names())}"
        )
    return found
