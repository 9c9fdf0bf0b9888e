"""Recipes: workload, ordered steps, runtime, measuring settings and seed.

`Recipe.load` takes the name of a shipped recipe, such as `bert_int8`, or the path of a file.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

import recipes as shipped
from compress.base.config import (
    NAME,
    Config,
    InputError,
    check_name,
    check_replaced,
    digest,
    set_path,
    suggestion_or_list,
    validate,
)
from compress.base.reading import exists, shortened
from compress.base.yaml import Source, parse_yaml, read_text, typed
from compress.spec.measure import Measure
from compress.spec.order import order_problems
from compress.spec.steps import STEPS, Step

Seed = Annotated[int, Field(ge=0, lt=2**32)]
MOST_SEEDS = 20
PROFILE = "measure.profile"
"""What `measure: quick` sets."""
ALTERNATIVES = frozenset({"seed", "seeds"})
MOST_ORDERS = 6
MOST_SEARCHED = 6  # steps: 720 permutations
WORKLOAD_FIELDS = frozenset({"task", "model", "dataset"})
"""Required fields of a workload; a recipe has none of them."""
LONGEST_SUFFIX = 48  # characters of a row's name; longer overrides are replaced by a digest


class Recipe(Config):
    """Ordered steps, the runtime, and how to measure."""

    name: str = "recipe"
    """Name of the row; by default the name of the file it was loaded from."""
    workload: str = "stdlib-bert"
    """Default model and data: a name or a YAML file."""
    steps: tuple[Step, ...] = ()
    """Steps applied to the model, in this order; without steps it stays dense."""
    order: Literal["given", "search"] = "given"
    """Take the steps as written; or try every order that can work, one row each, at most 6."""
    runtime: Literal[
        "auto", "eager", "compile", "onnxruntime", "tensorrt", "openvino", "llama.cpp", "onnxruntime-genai"
    ] = "auto"
    """Runtime that executes the model; auto takes the one that the format needs, and eager for plain models."""
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = "auto"
    """Implementation of attention: in plain operators, by torch's fused kernel, or by the flash-attn package (half
    precision, CUDA); auto leaves the choice to transformers: sdpa if the architecture supports it."""
    kv_cache: Literal["auto", "int8", "int4", "static"] = "auto"
    """Keys and values of earlier tokens: as computed (auto); rounded to 8 or 4 bits, with accuracy judged through them
    (eager, openvino); or static, in memory that is allocated beforehand (eager, compile). Language models only."""
    padding: Literal["dynamic", "fixed"] = "dynamic"
    """Pad a batch of texts to its longest; or every batch to the workload's max_length, as deployments with fixed
    shapes do. CUDA graphs need fixed shapes (runtime compile). Text classification only."""
    memory: Literal["auto", "whole", "layers"] = "auto"
    """Make the compressed model in memory as a whole; or layer by layer from disk to disk, with one layer's weights in
    memory (language models); auto does the latter if the model does not fit comfortably, and says so."""
    measure: Measure = Measure()
    """Name of a profile, or settings by name."""
    seeds: tuple[Seed, ...] | None = None
    """Instead of `seed`, 2 to 20 of them: make the model once per seed, so that the accuracy's interval covers the
    choice of the seed. The model of the first seed is the one that is measured, kept as the artifact and published."""
    seed: Seed = 0
    """Seed of all random choices; the first one of `seeds`, if those are set."""

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

    @field_validator("seeds")
    @classmethod
    def _seeds_matter(cls, value: tuple[int, ...] | None, info: ValidationInfo) -> tuple[int, ...] | None:
        if value is not None and not (2 <= len(value) <= MOST_SEEDS and len(set(value)) == len(value)):
            raise ValueError(f"expected 2 to {MOST_SEEDS} different seeds")
        if value is not None and "steps" in info.data and not any(map(_is_seeded, info.data["steps"])):
            raise ValueError("no step of this recipe trains or draws calibration examples; use seed")
        return value

    @field_validator("seed")
    @classmethod
    def _one_or_several(cls, value: int, info: ValidationInfo) -> int:
        if info.data.get("seeds") is not None:
            raise ValueError("seeds is set too; keep one of them")
        return value

    @model_validator(mode="after")
    def _take_first_seed(self) -> "Recipe":
        if self.seeds is not None:
            object.__setattr__(self, "seed", self.seeds[0])  # the fields are frozen
        return self

    @model_validator(mode="after")
    def _orders_can_be_tried(self) -> "Recipe":
        if self.order == "search" and len(self.steps) > MOST_SEARCHED:
            raise ValueError(
                f"order search: {len(self.steps)} steps; expected {MOST_SEARCHED} at most; list them in a fixed order"
            )
        if self.order == "search" and not 2 <= len(self.orders) <= MOST_ORDERS:
            raise ValueError(
                f"order search: its steps have {len(self.orders)} valid orders; expected 2 to "
                f"{MOST_ORDERS}; list the steps in a fixed order"
            )
        return self

    @property
    def trains(self) -> bool:
        """Whether a step trains; training can run on several processes."""
        return any(step.method == "distill" for step in self.steps)

    @property
    def learns(self) -> bool:
        """Whether a step, or one of its overrides, trains or calibrates: it needs the training split."""
        return self.trains or any(part.calibrates for step in self.steps for part in getattr(step, "parts", ()))

    def of_seed(self, seed: int) -> "Recipe":
        """Return this recipe with one seed; a further seed than the first is appended to its name: `NAME-seed-1`."""
        name = self.name if seed == self.seed else f"{self.name}-seed-{seed}"
        return self.model_copy(update={"name": name, "seed": seed, "seeds": None})

    @property
    def further(self) -> "tuple[Recipe, ...]":
        """The recipes of all seeds but the first; empty for a recipe with a single seed."""
        return tuple(self.of_seed(seed) for seed in (self.seeds or ())[1:])

    @property
    def orders(self) -> "tuple[Recipe, ...]":
        """The recipe itself; with order search one recipe per order that can work, named after the order."""
        if self.order == "given":
            return (self,)
        recipes: dict[tuple[Any, ...], Recipe] = {}
        for steps in itertools.permutations(self.steps):
            if not order_problems(steps):
                words = "-".join(f"{step.method}{self.steps.index(step)}" for step in steps)
                recipes[tuple(step.model_dump_json() for step in steps)] = self.model_copy(
                    update={"steps": steps, "order": "given", "name": f"{self.name}-{words}"}
                )
        return tuple(recipes.values())

    @classmethod
    def load(cls, name_or_path: str | Path, overrides: Sequence[tuple[str, Any]] = ()) -> "Recipe":
        """Return the recipe of this name or file; `path=value` overrides are applied before validation."""
        path = find(str(name_or_path))
        data, source = parse_yaml(read_text(path, "recipe"), str(path))
        if "steps" not in data and len(WORKLOAD_FIELDS & data.keys()) > 1:
            raise InputError(f"{path}: is a workload; expected a recipe; use: run RECIPE --workload {path}")
        return cls.from_data(data, source, default_name=path.stem, overrides=overrides)

    @classmethod
    def from_data(
        cls, data: Mapping[str, Any], source: Source, default_name: str, overrides: Sequence[tuple[str, Any]] = ()
    ) -> "Recipe":
        """Return a recipe from plain data. Raises InputError with the places of `source`."""
        changed = {"name": default_name, **data}
        if isinstance(changed.get("measure"), str) and any(path.startswith("measure.") for path, _ in overrides):
            changed["measure"] = {"profile": changed["measure"]}
        source = replace(source, assigned=dict(overrides))
        _check_owners(overrides)
        check_replaced([(PROFILE if path == "measure" and isinstance(value, str) else path, value)
                        for path, value in overrides])  # fmt: skip
        for path, value in sorted(overrides, key=lambda change: change[0] != "measure"):  # a profile, then its settings
            if path in ALTERNATIVES and not dict(overrides).keys() >= ALTERNATIVES:  # one replaces the other
                changed = {key: kept for key, kept in changed.items() if key not in ALTERNATIVES}
            is_profile_name = path == "measure" and isinstance(value, str)
            set_path(changed, path, {"profile": value} if is_profile_name else value)
        if not any(path == "name" for path, _ in overrides) and isinstance(changed["name"], str):
            suffixes = "".join(_suffix(changed, path, value) for path, value in dict(overrides).items())
            changed["name"] += suffixes if len(suffixes) <= LONGEST_SUFFIX else f"-{digest(suffixes)[:8]}"
        return validate(cls, changed, source)

    def dump(self) -> str:
        """Return YAML that loads to an equal recipe."""
        import io

        from ruamel.yaml import YAML

        yaml = YAML()
        yaml.default_flow_style = False
        out = io.StringIO()
        yaml.dump(self.model_dump(mode="json"), out)
        return out.getvalue()

    @property
    def fingerprint(self) -> str:
        """16 hex digits of all settings but the name, which changes no figure; of all seeds."""
        return digest(self.model_dump(mode="json", exclude={"name"}))

    @property
    def transform_fingerprint(self) -> str:
        """16 hex digits of all settings but name, measure and workload; of the first seed only."""
        single = self.of_seed(self.seed)
        return digest(single.model_dump(mode="json", exclude={"name", "measure", "workload"}))

    @model_serializer(mode="wrap")
    def _seed_or_seeds(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write the one of `seed` and `seeds` that was set, so that the written recipe can be loaded."""
        fields: dict[str, Any] = serialize(self)
        fields.pop("seeds" if self.seeds is None else "seed", None)
        return fields

    def __repr__(self) -> str:
        """Return one line with the explicit settings of every step; `dump()` returns all settings."""
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


def _is_seeded(step: Step) -> bool:
    """Return whether a step's result depends on the seed: it trains, or draws its calibration examples by it."""
    parts: tuple[Any, ...] = getattr(step, "parts", ())
    drawn = (part for part in parts if part.calibrates and getattr(part, "structure", "") != "vocabulary")
    return step.method == "distill" or any(part.calibration_seed is None for part in drawn)


def _check_owners(overrides: Sequence[tuple[str, Any]]) -> None:
    """Raise InputError if an override sets a field of a step or of `measure` as one of the recipe."""
    problems = []
    for path, value in overrides:
        owners = [str(step.model_fields["method"].default) for step in STEPS if path in step.model_fields]
        places = [f"steps.N.{path}={typed(value)}"] if owners else []
        if path in Measure.model_fields:
            owners, places = [*owners, "measure"], [*places, f"measure.{path}={typed(value)}"]
        if owners and path not in Recipe.model_fields:
            set_ = f"--set {path}={shortened(typed(value))}"
            problems.append(f"{set_}: a field of {' and '.join(owners)}; write {' or '.join(places)}")
    if problems:
        raise InputError(problems)


def _suffix(data: Mapping[str, Any], path: str, value: Any) -> str:
    """Return the suffix of the row's name for an override: `-bits-4`; empty for measure, workload and order."""
    first, *rest = path.split(".")
    if first in ("measure", "workload", "order"):
        return ""
    if first == "steps":
        is_single = isinstance(data["steps"], list) and len(data["steps"]) == 1
        path = ".".join(rest[1:] if is_single else rest)
    words = (path, *(map(str, value) if path == "seeds" and isinstance(value, list) else [str(value)]))
    return "".join(f"-{word if NAME.fullmatch(word) else digest(word)[:6]}" for word in words)


def find(name: str) -> Path:
    """Return the file of a recipe, given its path or the name of a shipped one. Raises InputError for other names."""
    path = Path(name)
    if name and (exists(path) or path.suffix in (".yaml", ".yml") or "/" in name):
        if not exists(path) and path.suffix in (".yaml", ".yml"):
            shipped_path = shipped.path(path.stem) if path.parent.name in ("", "recipes") else None
            if shipped_path is not None:  # `recipes/bert_int8.yaml` works outside a checkout too
                return shipped_path
        return path
    shipped_path = shipped.path(name) if NAME.fullmatch(name) else None
    if shipped_path is None:
        way_out = suggestion_or_list(name, shipped.names())
        raise InputError(f"{shortened(name) or repr(name)}: no such file and no shipped recipe{way_out}")
    return shipped_path
