"""Recipes and workloads as people write them: every mistake named with its place, all of them together."""

from pathlib import Path
from typing import Any

import pytest

import recipes
from compress import Cast, Distill, LowRank, Prune, Quantize, Recipe, Workload
from compress.base.config import InputError, digest, parse_assignment, set_path, validate
from compress.base.yaml import parse_yaml
from compress.data.workload import names as workload_names
from compress.methods import TRANSFORMS
from compress.spec.recipe import WORKLOAD_FIELDS
from compress.spec.steps import STEPS


def write(folder: Path, text: str, name: str = "r.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", recipes.names())
def test_a_shipped_recipe_loads_by_name_by_file_and_by_attribute_and_survives_a_yaml_round_trip(
    name: str, tmp_path: Path
) -> None:
    loaded = Recipe.load(name)
    assert loaded == Recipe.load(recipes.FOLDER / f"{name}.yaml") == getattr(recipes, name)
    again = Recipe.load(write(tmp_path, loaded.dump(), f"{name}.yaml"))
    assert again == loaded
    assert again.fingerprint == loaded.fingerprint


@pytest.mark.parametrize("name", recipes.names())
def test_a_shipped_recipe_begins_with_what_it_does_and_what_to_expect(name: str) -> None:
    comment = [line for line in (recipes.FOLDER / f"{name}.yaml").read_text().splitlines() if line.startswith("#")]
    assert comment[0].startswith(f"# {name}: ")
    assert "xpect" in " ".join(comment)


@pytest.mark.parametrize("name", workload_names())
def test_a_shipped_workload_is_valid(name: str) -> None:
    assert Workload.load(name).name == name


def test_every_order_that_can_work_is_a_recipe_of_its_own() -> None:
    steps = (Prune(), LowRank(), Quantize())
    found = Recipe(name="x", steps=steps, order="search").orders
    assert [recipe.name for recipe in found] == ["x-prune0-lowrank1-quantize2", "x-lowrank1-prune0-quantize2"]
    assert [[step.method for step in recipe.steps] for recipe in found] == [
        ["prune", "lowrank", "quantize"],
        ["lowrank", "prune", "quantize"],
    ]
    assert len({recipe.fingerprint for recipe in found}) == 2
    assert Recipe(name="x", steps=steps).orders == (Recipe(name="x", steps=steps),)


@pytest.mark.parametrize(
    "steps", [(Quantize(),), (Prune(), Quantize()), (Prune(), LowRank(), Prune(fraction=0.5), Distill())]
)
def test_an_order_that_cannot_be_searched_for_is_refused_with_the_number_of_orders(steps: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="valid orders; expected 2 to 6"):
        Recipe(name="x", steps=steps, order="search")


def test_every_step_has_one_row_in_the_table_and_valid_defaults() -> None:
    names = [step.model_fields["method"].default for step in STEPS]
    assert sorted(names) == sorted(TRANSFORMS)
    assert {type(step()) for step in (Cast, Prune, Quantize, LowRank, Distill)} == set(STEPS)


def test_every_field_of_every_step_has_a_sentence() -> None:
    for step in STEPS:
        for name, field in step.model_fields.items():
            assert name == "method" or field.description, f"{step.__name__}.{name}"


def test_all_mistakes_of_a_recipe_are_reported_together_with_line_path_and_value(tmp_path: Path) -> None:
    text = "workload: x\nsteps:\n  - {method: quantize, bits: 5, bitz: 3}\n  - method: magic\nruntime: zip\nseed: -1\n"
    with pytest.raises(InputError) as caught:
        Recipe.load(write(tmp_path, text))
    told = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 5
    assert "r.yaml:3 steps.0.bits: 5: " in told
    assert "r.yaml:3 steps.0.bitz: unknown field; did you mean bits?" in told
    assert "r.yaml:4 steps.1: 'magic': unknown method; expected one of cast, distill, lowrank, prune, quantize" in told
    assert "r.yaml:5 runtime: 'zip'" in told
    assert "r.yaml:6 seed: -1" in told


BOMB = "a: &a [1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b]\n"
BAD = [
    ("", "the file is empty"),
    ("steps: [", "not valid YAML"),
    ("- just\n- a list\n", "expected a mapping"),
    ("seed: 1\nseed: 2\n", "not valid YAML"),
    (BOMB, "YAML alias"),
    ("a: " + "[" * 100 + "]" * 100, "nested deeper"),
    ("steps: []\n# " + "x" * 300_000, "bytes"),
    ("steps: 3\n", "steps"),
    ("seed: abc\n", "seed: 'abc'"),
    ("steps: [{method: prune, fraction: 1.5}]\n", "steps.0.fraction: 1.5"),
    ("steps: [{method: quantize, bits: 8, format: nf4}]\n", "format nf4 has 4 bits, but bits is 8"),
    ("steps: [{method: quantize, bits: 4, double_quant: true}]\n", "double_quant needs format nf4 or fp4"),
    ("steps: [{method: lowrank, rank: 4, energy: 0.9}]\n", "give one of rank, parameters, energy"),
    ("steps: [{method: distill, keep_every: 2, layers: [0]}]\n", "each of them defines the student"),
    ("steps: [{bits: 8}]\n", "method is missing; expected one of cast, distill, lowrank, prune, quantize"),
    ("name: ../../etc/passwd\n", "expected letters, digits"),
    ("name: '<b>x</b>'\n", "expected letters, digits"),
    ("measure: fast\n", "measure: 'fast'"),
    ("measure: {rounds: 1}\n", "measure.rounds: 1"),
]


@pytest.mark.parametrize(("text", "words"), BAD, ids=[words for _, words in BAD])
def test_an_impossible_recipe_is_refused_with_its_position(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        Recipe.load(write(tmp_path, text))
    assert words in str(caught.value)
    assert str(tmp_path) in str(caught.value)


ORDERS = [
    ([Quantize(), Prune()], "prune after quantize"),
    ([Quantize(), Quantize(bits=4)], "a second quantization"),
    ([Quantize(), Distill()], "distill after quantize"),
    ([Quantize(), Cast()], "cast after quantize"),
    ([Cast(), LowRank()], "lowrank after cast"),
]


@pytest.mark.parametrize(("steps", "words"), ORDERS, ids=[words for _, words in ORDERS])
def test_an_order_that_cannot_work_is_refused_with_the_reason(steps: list[object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Recipe(steps=tuple(steps))  # type: ignore[arg-type]


def test_prune_then_distill_then_quantize_is_an_order_that_works() -> None:
    assert len(Recipe(steps=(Prune(), Distill(), Quantize())).steps) == 3


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: p / "none.yaml", "no such recipe file"),
        (lambda p: p, "is a folder"),
        (lambda p: "no_such_recipe", "no shipped recipe"),
    ],
    ids=["missing", "folder", "name"],
)
def test_a_recipe_that_is_not_there_is_refused(make: object, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        Recipe.load(make(tmp_path))  # type: ignore[operator]


def test_yaml_is_1_2_so_ratios_stay_text_and_exponents_are_numbers() -> None:
    data, _ = parse_yaml("a: 2:4\nb: 1e-4\nc: on\n", "x")
    assert data == {"a": "2:4", "b": 1e-4, "c": "on"}


def test_set_changes_a_field_before_the_recipe_is_checked(tmp_path: Path) -> None:
    path = write(tmp_path, "steps: [{method: quantize}]\nmeasure: quick\n")
    changed = Recipe.load(path, [parse_assignment("steps.0.bits=4"), parse_assignment("measure.rounds=7")])
    assert changed.steps[0].bits == 4  # type: ignore[union-attr]
    assert (changed.measure.profile, changed.measure.rounds) == ("quick", 7)
    for order in (1, -1):
        both = [parse_assignment("measure=publish"), parse_assignment("measure.points=all")][::order]
        measure = Recipe.load(path, both).measure
        assert (measure.profile, measure.points, measure.rounds) == ("publish", "all", None)
    for text, words in (("steps.3.bits=4", "no item"), ("nonsense", "expected path=value"), ("seed.x=1", "seed")):
        with pytest.raises(InputError, match=words):
            Recipe.load(path, [parse_assignment(text)])
    with pytest.raises(InputError, match="unknown field"):
        Recipe.load(path, [parse_assignment("sede=1")])


def test_a_row_is_named_after_what_set_changed_of_the_model_not_of_the_measuring(tmp_path: Path) -> None:
    one = write(tmp_path, "steps: [{method: quantize}]\n", "one.yaml")
    two = write(tmp_path, "steps: [{method: prune, structure: heads, fraction: 0.2}, {method: quantize}]\n", "two.yaml")

    def named(path: Path, *texts: str) -> str:
        return Recipe.load(path, [parse_assignment(text) for text in texts]).name

    assert named(one, "measure.rounds=7", "workload=other") == "one"
    assert named(one, "steps.0.bits=4", "seed=3") == "one-bits-4-seed-3"
    assert named(two, "steps.1.bits=4") == "two-1.bits-4"
    assert named(two, "steps.0.fraction=0.4", "name=mine") == "mine"
    assert named(one, "steps.0.exclude=[a*, b]") != named(one, "steps.0.exclude=[a*, c]")


def test_set_path_makes_the_mappings_on_the_way() -> None:
    data: dict[str, object] = {}
    set_path(data, "measure.rounds", 3)
    assert data == {"measure": {"rounds": 3}}


def test_the_fingerprint_changes_with_every_field_but_the_name() -> None:
    base = Recipe(steps=(Quantize(),))
    assert base.fingerprint == Recipe(name="other", steps=(Quantize(),)).fingerprint
    others = [
        Recipe(steps=(Quantize(per_channel=False),)),
        Recipe(steps=(Quantize(),), seed=1),
        Recipe(steps=(Quantize(),), runtime="eager"),
        Recipe(steps=(Quantize(),), measure={"rounds": 9}),  # type: ignore[arg-type]
    ]
    assert len({base.fingerprint, *(other.fingerprint for other in others)}) == 5
    assert base.transform_fingerprint == others[3].transform_fingerprint


def test_digest_is_stable_and_does_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1, "b": 3})


def test_a_workload_point_longer_than_the_inputs_is_refused(tmp_path: Path) -> None:
    text = "task: causal-lm\nmodel: m\ndataset: {path: d}\nmax_length: 32\n"
    text += "headline: {batch_size: 1, sequence_length: 64}\n"
    with pytest.raises(InputError, match="over max_length 32"):
        Workload.load(write(tmp_path, text))


def test_validate_places_an_unknown_task_on_its_line() -> None:
    data, source = parse_yaml("model: m\ntask: dance\ndataset: {path: d}\n", "w.yaml")
    with pytest.raises(InputError, match=r"w.yaml:2 task: 'dance'"):
        validate(Workload, data, source)


CALIBRATED = [
    Prune(importance="taylor"), Prune(importance="obd"), Prune(importance="activation"), Prune(),
    Prune(structure="layers", importance="influence", fraction=0.5),
    Prune(structure="unstructured", importance="wanda"), Prune(structure="unstructured", importance="sparsegpt"),
    Prune(structure="unstructured"), LowRank(), LowRank(weighting="whitened"), LowRank(weighting="fisher"),
    LowRank(weighting="activation"), LowRank(weighting="whitened", allocation="shared"),
    Quantize(bits=4, rounding="gptq", group_size=32), Quantize(bits=4, scaling="awq", group_size=32),
    Quantize(bits=4, rounding="hqq", group_size=32), Quantize(format="int8_static"), Quantize(),
    Quantize(bits=3, group_size=32, overrides={"*query*": {"rounding": "gptq"}}), Cast(), Distill(max_steps=1),
]  # fmt: skip


@pytest.mark.parametrize(
    "step",
    CALIBRATED,
    ids=lambda step: "-".join(str(v) for v in step.model_dump(exclude_defaults=True).values()) or step.method,
)
def test_a_step_that_calibrates_or_trains_is_known_before_anything_is_loaded(step: Any) -> None:
    from compress.methods import apply_step
    from tests.made_models import bert, bundle

    try:
        apply_step(bundle(bert(), train=None), step)
    except InputError as error:
        assert "needs training examples" in error.problems[0]
        assert Recipe(steps=(step,)).learns
    else:
        assert not Recipe(steps=(step,)).learns


def test_an_error_of_an_override_names_the_override_not_the_file() -> None:
    with pytest.raises(InputError, match=r"^--set steps\.0\.bit=4: unknown field; did you mean bits\?$"):
        Recipe.load("bert_int8", [("steps.0.bit", 4)])
    with pytest.raises(InputError, match=r"--set measure\.rounds=0"):
        Recipe.load("bert_int8", [("measure.rounds", 0)])
    with pytest.raises(InputError, match="change its fields in the workload file"):
        Recipe.load("bert_int8", [("workload.max_length", 64)])


OVERRIDES = [
    ("steps.0.bits", "five", "--set steps.0.bits=five: input should be 8, 4, 3, 2 or 1"),
    ("measure.rounds", 0, "--set measure.rounds=0: input should be greater than or equal to 2"),
    ("steps.1.bits", 4, "--set steps.1.bits: no item '1' in a list of 1; steps count from 0"),
    ("bits", 4, "--set bits=4: a field of quantize; write steps.N.bits=4"),
    ("window_s", 7, "--set window_s=7: a field of measure; write measure.window_s=7"),
    ("rounds", 7, "--set rounds=7: a field of prune and measure; write steps.N.rounds=7 or measure.rounds=7"),
    ("measure", "quik", "--set measure=quik measure.profile: input should be 'auto', 'quick', 'standard' or 'publish'; "
                        "did you mean quick?"),
    ("runtime", "egar", "--set runtime=egar: input should be 'auto', 'eager', 'compile', 'onnxruntime', 'tensorrt', "
                        "'openvino', 'llama.cpp' or 'onnxruntime-genai'; did you mean eager?"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "sentence"), OVERRIDES, ids=[path for path, _, _ in OVERRIDES])
def test_an_override_that_is_refused_is_shown_once_with_what_to_write(path: str, value: Any, sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        Recipe.load("bert_int8", [(path, value)])
    assert refused.value.problems == (sentence,)


def test_a_rule_for_several_fields_names_the_overrides_that_break_it() -> None:
    reason = (
        "rounds: got 3 with precision or budget_s; expected at least 15, or neither of the two for exactly that many"
    )
    pairs = [("measure.rounds", 3), ("measure.budget_s", 4)]
    with pytest.raises(InputError) as refused:
        Recipe.load("bert_int8", [*pairs, ("measure.window_s", 1)])
    assert refused.value.problems == (f"--set measure.rounds=3, --set measure.budget_s=4: {reason} rounds",)


REPLACED = [
    ([("measure.profile", "quick"), ("measure", "publish")], "--set measure.profile=publish: replaces --set "
                                                             "measure.profile=quick; keep one of them"),
    ([("measure", "publish"), ("measure.profile", "quick")], "--set measure.profile=quick: replaces --set "
                                                             "measure.profile=publish; keep one of them"),
    ([("measure.rounds", 20), ("measure.rounds", 30)], "--set measure.rounds=30: replaces --set "
                                                       "measure.rounds=20; keep one of them"),
    ([("steps.0.bits", 4), ("steps", [])], "--set steps=[]: replaces --set steps.0.bits=4; keep one of them"),
]  # fmt: skip


@pytest.mark.parametrize(("overrides", "sentence"), REPLACED)
def test_an_override_that_replaces_another_is_refused(overrides: list[tuple[str, Any]], sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        Recipe.load("bert_int8", overrides)
    assert refused.value.problems == (sentence,)


def test_overrides_that_replace_nothing_are_all_applied() -> None:
    made = Recipe.load("bert_int8", [("measure.rounds", 20), ("measure", "publish"), ("measure.rounds", 20)])
    assert (made.measure.profile, made.measure.rounds) == ("publish", 20)


def test_an_order_that_cannot_work_is_refused_on_the_line_of_its_step_without_a_dump(tmp_path: Path) -> None:
    path = write(tmp_path, "steps:\n  - {method: quantize}\n  - {method: prune}\n")
    with pytest.raises(InputError) as refused:
        Recipe.load(path)
    reason = "prune after quantize (steps.0): prune needs floating-point weights; reorder"
    assert refused.value.problems == (f"{path}:3 steps.1: {reason}",)
    with pytest.raises(InputError, match=r"r.yaml:1 steps.0: format nf4 has 4 bits, but bits is 8"):
        Recipe.load(write(tmp_path, "steps: [{method: quantize, bits: 8, format: nf4}]\n"))


@pytest.mark.parametrize(
    ("find", "typo", "meant"), [(Recipe.load, "bert_in8", "bert_int8"), (Workload.load, "stdlib-brt", "stdlib-bert")]
)
def test_a_name_that_is_nearly_one_gets_a_suggestion(find: Any, typo: str, meant: str) -> None:
    with pytest.raises(InputError, match=rf"did you mean {meant}\?$"):
        find(typo)


@pytest.mark.parametrize(("find", "listed"), [(Recipe.load, "bert_int8"), (Workload.load, "stdlib-bert")])
def test_a_name_like_no_shipped_one_gets_the_list(find: Any, listed: str) -> None:
    with pytest.raises(InputError, match=f"shipped are: .*{listed}"):
        find("xyzzy")


WORKLOAD = "task: causal-lm\nmodel: m\ndataset: {path: d}\n"


def test_a_workload_in_the_place_of_a_recipe_and_the_reverse_are_named_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"my.yaml: is a workload; .* use: run RECIPE --workload \S*my.yaml"
    ) as refused:
        Recipe.load(write(tmp_path, WORKLOAD, "my.yaml"))
    assert len(refused.value.problems) == 1
    with pytest.raises(InputError, match=r"order.yaml: is a recipe; expected a workload") as refused:
        Workload.load(write(tmp_path, "steps: [{method: quantize}]\n", "order.yaml"))
    assert len(refused.value.problems) == 1
    with pytest.raises(InputError, match="task: missing"):
        Workload.load(write(tmp_path, "metric: accuracy\n"))


def test_a_workload_is_known_by_its_required_fields() -> None:
    assert {name for name, field in Workload.model_fields.items() if field.is_required()} == WORKLOAD_FIELDS
    assert not WORKLOAD_FIELDS & Recipe.model_fields.keys()


@pytest.mark.parametrize(
    ("make", "problems"),
    [
        (lambda: Prune(fraction=2), ["Prune fraction: 2: input should be less than 1"]),
        (lambda: Prune(fractoin=0.5), ["Prune fractoin: unknown field; did you mean fraction?"]),
        (
            lambda: Recipe(steps=(Prune(), {"method": "quantize", "bits": 99}), seed=-1),
            [
                "Recipe steps.1.bits: 99: input should be 8, 4, 3, 2 or 1",
                "Recipe seed: -1: input should be greater than or equal to 0",
            ],
        ),
    ],
    ids=["value", "unknown field", "nested"],
)
def test_a_wrong_field_in_python_is_one_sentence_like_in_a_file(make: Any, problems: list[str]) -> None:
    with pytest.raises(InputError) as refused:
        make()
    assert list(refused.value.problems) == problems
