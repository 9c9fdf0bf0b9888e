"""True and false are refused wherever a recipe, a workload or a setting of measuring is a number."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest

from compress.base.config import Config, InputError, parse_assignment, validate
from compress.base.yaml import parse_yaml
from compress.data.point import OperatingPoint
from compress.data.workload import Workload
from compress.spec.measure import Measure
from compress.spec.recipe import Recipe
from compress.spec.steps import STEPS

KINDS: tuple[type[Config], ...] = (Recipe, Measure, *STEPS, Workload, OperatingPoint)
FEWEST = 35
"""Numeric fields of all kinds; a walk that misses some would check nothing."""


def shapes(annotation: Any) -> Iterator[str]:
    """`number`, `list` or `boolean` for every member of a field's type."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if annotation in (int, float) or (origin is Literal and any(type(value) is int for value in inside)):
        yield "number"
    elif annotation is bool:
        yield "boolean"
    elif origin is Annotated:
        yield from shapes(inside[0])
    elif origin in (Union, UnionType):
        yield from (shape for member in inside for shape in shapes(member))
    elif origin is tuple:
        yield from ("list" for shape in shapes(inside[0]) if shape == "number")


NUMERIC = [
    (kind, name, "list" if "list" in found else "number")
    for kind in KINDS
    for name, field in kind.model_fields.items()
    if (found := set(shapes(field.annotation))) & {"number", "list"}
]
IDS = [f"{kind.__name__}.{name}" for kind, name, _ in NUMERIC]


def test_the_walk_finds_the_numeric_fields() -> None:
    assert len(NUMERIC) >= FEWEST
    assert {"Recipe.seeds", "Measure.sessions", "Measure.precision", "Quantize.bits", "Distill.layers"} <= set(IDS)
    assert {"Workload.max_length", "OperatingPoint.batch_size", "Prune.fraction", "Distill.epochs"} <= set(IDS)


@pytest.mark.parametrize("value", ["true", "false"])
@pytest.mark.parametrize(("kind", "name", "shape"), NUMERIC, ids=IDS)
def test_a_boolean_is_no_number(kind: type[Config], name: str, shape: str, value: str) -> None:
    place, written = (f"{name}.0", f"[{value}]") if shape == "list" else (name, value)
    with pytest.raises(InputError) as refused:
        validate(kind, *parse_yaml(f"{name}: {written}\n", "r.yaml"))
    said = f"r.yaml:1 {place}: {value.title()}: a boolean; expected "
    assert any(problem.startswith(said) and problem.endswith(", in digits") for problem in refused.value.problems)


@pytest.mark.parametrize(("kind", "name", "shape"), NUMERIC, ids=IDS)
def test_a_boolean_from_python_is_no_number_either(kind: type[Config], name: str, shape: str) -> None:
    with pytest.raises(InputError, match=rf"{name}(\.0)?: True: a boolean; expected"):
        kind(**{name: [True] if shape == "list" else True})


def test_a_boolean_inside_overrides_is_no_number() -> None:
    text = "steps:\n  - {method: quantize, overrides: {x: {bits: true}}}\n"
    with pytest.raises(InputError, match="overrides: bits: a boolean; expected one of 8, 4, 3, 2, 1, in digits"):
        validate(Recipe, *parse_yaml(text, "r.yaml"))


def test_booleans_stay_values_of_boolean_fields_and_numbers_of_numeric_ones() -> None:
    step = "{method: quantize, backend: torch, rounding: gptq, bits: 4, symmetric: true, damping: 0.5}"
    text = f"steps:\n  - {step}\nmeasure: {{rounds: 20, warmup_s: 0}}\n"
    recipe = validate(Recipe, *parse_yaml(text, "r.yaml"))
    assert (recipe.measure.rounds, recipe.measure.warmup_s) == (20, 0)
    assert recipe.steps[0].model_dump(include={"bits", "symmetric", "damping"}) == {
        "bits": 4, "symmetric": True, "damping": 0.5,
    }  # fmt: skip


def test_an_assignment_of_a_boolean_names_the_option() -> None:
    with pytest.raises(InputError) as refused:
        Recipe.load("bert_int8", [parse_assignment("measure.sessions=true")])
    (problem,) = refused.value.problems
    assert problem == "--set measure.sessions=true: a boolean; expected an integer, in digits"


def test_the_command_line_refuses_it_with_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("seeds: [true, false]\nsteps: [{method: distill}]\n")
    command = [sys.executable, "-m", "compress", "run", "r.yaml", "--set", "measure.precision=true"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "r.yaml:1 seeds.0: True: a boolean; expected an integer, in digits" in done.stderr
    assert "--set measure.precision=true: a boolean; expected a number, in digits" in done.stderr
