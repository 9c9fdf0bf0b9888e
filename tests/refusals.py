"""Recipes, workloads and options that must be refused soon, and words of the error: for the tests and the benchmark."""

from compress.base.config import validate
from compress.base.yaml import parse_yaml
from compress.cli.options import load_recipes
from compress.data.workload import Workload
from compress.spec.recipe import Recipe

PRUNES = ", ".join(f"{{method: lowrank, rank: {rank + 1}}}" for rank in range(12))
ANCHORS = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
RECIPES = {
    "a margin without a unit": ("measure: {margin: '0.5'}", "measure.margin: '0.5': expected points such as 1pt"),
    "a margin that is a number": ("measure: {margin: 0.5}", "measure.margin: 0.5: expected points such as 1pt"),
    "12 steps in every order": (f"order: search\nsteps: [{PRUNES}]", "12 steps; expected 6 at most"),
    "15,000 unknown keys": ("\n".join(f"k{i}: 1" for i in range(15_000)), "letters; expected 65536 at most"),
    "4000 short unknown keys": ("\n".join(f"k{i}: 1" for i in range(4000)), "too many values; expected 5000"),
    "2000 unknown keys": ("\n".join(f"k{i}: 1" for i in range(2000)), "and 1980 more problems"),
    "10^7 layers": ("steps: [{method: distill, layers: [" + "1," * 10**7 + "]}]", "letters; expected"),
    "20,000 layers": ("steps: [{method: distill, layers: [" + "1," * 20_000 + "]}]", "too many values; expected 5000"),
    "deep": ("a: " + "[" * 10_000, "nested deeper than 32"),
    "bomb": (ANCHORS, "a YAML alias"),
    "million letters": ("name: " + "a" * 10**6, "letters; expected 65536 at most"),
    "long name": ("name: " + "a" * 60_000, "60000 letters; expected 4096 at most"),
    "spaces": ("name:" + " " * 60_000 + "\n" * 5000 + "x: 1", "name"),
    "comments": ("#\n" * 30_000 + "y: 1", "y: unknown field"),
    "5000 digits": ("seed: " + "1" * 5000, "recipe.yaml: not valid YAML (an integer of over 4300 digits)"),
    "a list": ("- a", "recipe.yaml: a list; expected a mapping of fields"),
    "a number": ("3", "recipe.yaml: one value; expected a mapping of fields"),
    "a step without its method": (
        "steps:\n- {bits: 8}",
        "recipe.yaml:2 steps.0: method is missing; expected one of cast, ",
    ),
    "a step of another method": ("steps: [{method: quantise}]", "'quantise': unknown method; expected one of cast, "),
    "a step that is a word": ("steps: [quantize]", "steps.0: 'quantize': expected a mapping of fields"),
    "settings that are a number": ("measure: 3", "measure: 3: expected a mapping of fields"),
    "hexadecimal": ("seed: 0x" + "f" * 5000, "an integer of 20000 bits"),
    "30 digits": ("seed: 1" + "0" * 30, "expected an integer of at most"),
    "NUL": ('workload: "a\\0b"', "control characters"),
    "half of a pair": ('workload: "\\ud800"', "control characters"),
    "beyond Unicode": ('workload: "\\U00110000"', "not valid YAML"),
    "tag": ("name: !!int abc", "a YAML tag"),
    "no number": ("steps: [{method: distill, epochs: .inf}]", "finite"),
}
DATA = "task: causal-lm\nmodel: m\n"
WORKLOADS = {
    "10^30 tokens": (f"{DATA}dataset: {{path: d}}\nmax_length: 1{'0' * 30}", "max_length"),
    "10^9 tokens": (f"{DATA}dataset: {{path: d}}\nmax_length: 1{'0' * 9}", "max_length"),
    "every split": (f"{DATA}dataset: {{path: d, test: '**'}}", "expected the name of one split"),
    "any split": (f"{DATA}dataset: {{path: d, test: '*'}}", "expected the name of one split"),
    "split elsewhere": (f"{DATA}dataset: {{path: d, test: ../d}}", "relative to the data's folder"),
    "absolute split": (f"{DATA}dataset: {{path: d, train: /d}}", "relative to the data's folder"),
    "size of a batch at the top": (
        f"{DATA}dataset: {{path: d}}\nbatch_size: 8",
        "batch_size: unknown field here; it belongs to headline, points",
    ),
    "quoting at the top": (f"{DATA}dataset: {{path: d}}\nquoting: none", "it belongs to csv"),
    "NUL in a path": (f'{DATA}dataset: {{path: "d\\0"}}', "control characters"),
}
OPTIONS = {
    "10,000 times": (["seed=1"] * 10_000, "10000 times; expected 200 at most"),
    "superscript": (["steps.².x=1"], "no item '²' in a list"),
    "long place": (["steps." + "9" * 5000 + "=1"], "no item"),
    "3000 levels": (["a" + ".b" * 3000 + "=1"], "3001 levels; expected 32 at most"),
    "million letters": (["name=" + "x" * 10**6], "letters; expected 65536 at most"),
    "control characters": (["a\x1b[31m=1"], "expected path=value"),
    "bomb": (["name=[&a [1], *a]"], "a YAML alias"),
    "no value": (["measure="], "--set measure=: no value after =; expected one, or null for none"),
    "no method": (["steps.0.method="], "--set steps.0.method=: no value after ="),
    "null": (["measure=null"], "--set measure=null: expected a mapping of fields"),
    "no method by null": (["steps.0.method=null"], "steps.0: method is missing; expected one of cast, "),
    "infinite": (["measure.budget_s=.inf"], "--set measure.budget_s=.inf: input should be a finite number"),
    "true": (["bits=true"], "--set bits=true: a field of quantize"),
    "a mapping and a list": (["steps={a: [1, null]}"], "--set steps={a: [1, null]}: expected a list"),
    "no path": ([" =1"], "expected path=value"),
}


def recipe(text: str) -> Recipe:
    """A recipe of this text."""
    return Recipe.from_data(*parse_yaml(text, "recipe.yaml"), default_name="recipe")


def workload(text: str) -> Workload:
    """A workload of this text."""
    data, source = parse_yaml(text, "workload.yaml")
    return validate(Workload, data, source)


def option(texts: list[str]) -> object:
    """A shipped recipe with these changes."""
    return load_recipes(["bert_int8"], texts)
