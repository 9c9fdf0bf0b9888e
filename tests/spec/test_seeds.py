"""Several seeds of a recipe: accepted where a step depends on the seed, and never beside a single one."""

from typing import Any

import pytest
from pydantic import ValidationError

from compress import Recipe
from compress.base.config import InputError
from compress.base.yaml import parse_yaml

DISTILL = "steps:\n  - {method: distill, keep_every: 2}\n"
GPTQ = "steps:\n  - {method: quantize, bits: 4, rounding: gptq, backend: torch%s}\n"


def recipe(text: str, *overrides: tuple[str, Any]) -> Recipe:
    data, source = parse_yaml(text, "mine.yaml")
    return Recipe.from_data(data, source, "mine", overrides)


def test_the_first_seed_is_the_seed_everywhere_else() -> None:
    several = recipe(DISTILL + "seeds: [7, 1, 2]\n")
    assert (several.seed, several.seeds) == (7, (7, 1, 2))
    assert [(each.name, each.seed, each.seeds) for each in several.further] == [
        ("mine-seed-1", 1, None),
        ("mine-seed-2", 2, None),
    ]
    assert recipe(DISTILL).further == ()


def test_the_written_recipe_loads_to_an_equal_one_with_one_of_the_two_fields() -> None:
    for text, absent in (("seeds: [7, 1]\n", "seed"), ("seed: 7\n", "seeds"), ("", "seeds")):
        written = recipe(DISTILL + text)
        assert absent not in written.model_dump()
        assert recipe(written.dump()) == written


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (DISTILL + "seed: 7\nseeds: [7, 1]\n", "mine.yaml:3 seed: 7: seeds is set too; keep one of them"),
        (DISTILL + "seeds: [7]\n", "mine.yaml:3 seeds: expected 2 to 20 different seeds"),
        (DISTILL + "seeds: [7, 7]\n", "mine.yaml:3 seeds: expected 2 to 20 different seeds"),
        (DISTILL + f"seeds: {list(range(21))}\n", "mine.yaml:3 seeds: expected 2 to 20 different seeds"),
        (DISTILL + "seeds: 3\n", "mine.yaml:3 seeds: 3: expected a list (lines that begin with -, or [ ])"),
        (DISTILL + "seeds: [0, 4294967296]\n", "mine.yaml:3 seeds.1: 4294967296: input should be less than 4294967296"),
        (
            "seeds: [0, 1]\nsteps:\n  - {method: quantize}\n",
            "mine.yaml:1 seeds: no step of this recipe trains or draws calibration examples; use seed",
        ),
        (
            "seeds: [0, 1]\n" + GPTQ % ", calibration_seed: 3",
            "mine.yaml:1 seeds: no step of this recipe trains or draws calibration examples; use seed",
        ),
    ],
    ids=["both", "one", "twice", "21", "number", "large", "nothing random", "fixed sample"],
)
def test_other_seeds_are_one_error_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(InputError) as raised:
        recipe(text)
    assert str(raised.value) == problem


def test_python_may_not_give_both_either() -> None:
    with pytest.raises(ValidationError, match="seeds is set too; keep one of them"):
        Recipe.model_validate({"steps": [{"method": "distill"}], "seed": 0, "seeds": [0, 1]})


def test_a_step_that_draws_calibration_examples_takes_seeds() -> None:
    assert recipe(GPTQ % "" + "seeds: [0, 1]\n").seeds == (0, 1)
    part = "overrides: {'*query*': {rounding: gptq}}"
    mixed = f"steps:\n  - {{method: quantize, bits: 4, backend: torch, {part}}}\nseeds: [0, 1]\n"
    assert recipe(mixed).seeds == (0, 1)


def test_an_override_replaces_the_other_field_and_names_the_row() -> None:
    single = recipe(DISTILL + "seeds: [0, 1]\n", ("seed", 3))
    assert (single.name, single.seed, single.seeds) == ("mine-seed-3", 3, None)
    several = recipe(DISTILL + "seed: 4\n", ("seeds", [0, 1, 2]))
    assert (several.name, several.seed, several.seeds) == ("mine-seeds-0-1-2", 0, (0, 1, 2))
    with pytest.raises(InputError, match=r"--set seed=3: seeds is set too; keep one of them"):
        recipe(DISTILL, ("seeds", [0, 1]), ("seed", 3))


def test_a_result_depends_on_all_seeds_and_an_artifact_on_its_own() -> None:
    several, other = recipe(DISTILL + "seeds: [7, 1]\n"), recipe(DISTILL + "seeds: [7, 2]\n")
    single, further = recipe(DISTILL + "seed: 7\n"), recipe(DISTILL + "seed: 1\n")
    assert len({each.fingerprint for each in (several, other, single, further)}) == 4
    assert several.transform_fingerprint == other.transform_fingerprint == single.transform_fingerprint
    assert several.further[0].transform_fingerprint == further.transform_fingerprint != single.transform_fingerprint


def test_every_order_of_a_search_has_the_seeds() -> None:
    steps = DISTILL + "  - {method: prune}\norder: search\nseeds: [0, 1]\n"
    orders = recipe(steps).orders
    assert len(orders) == 2
    assert all(each.seeds == (0, 1) and len(each.further) == 1 for each in orders)
