"""The shipped recipes in one line each: what each does, and under which runtime it runs on a CPU and on a GPU."""

import re
from dataclasses import dataclass, field

import recipes
from compress.base.config import InputError
from compress.base.device import DeviceKind
from compress.base.yaml import parse_yaml, read_text
from compress.spec.formats import DEVICES, GRAPH_RUNTIMES, PLAIN_RUNTIMES, choose
from compress.spec.recipe import Recipe

PLACES: dict[DeviceKind, str] = {"cpu": "CPU", "cuda": "GPU"}


@dataclass(frozen=True)
class Shipped:
    """A shipped recipe: its name, the first sentence of its file, and how it runs on each device that can run it."""

    name: str
    sentence: str
    runs: dict[DeviceKind, str]
    of_language: dict[DeviceKind, str] = field(default_factory=dict)
    """How it runs on a language model, on each device where that differs from the recipe's own workload."""

    @property
    def place(self) -> str:
        """Return the devices, format and runtime: `CPU: int8 under onnxruntime; GPU: int8 under compile`."""
        if len(set(self.runs.values())) == 1 and not self.of_language:
            (how,) = set(self.runs.values())
            devices = " and ".join(PLACES[kind] for kind in PLACES if kind in self.runs)
            return f"{devices}{' only' if len(self.runs) == 1 else ''}: {how}"
        return "; ".join(f"{PLACES[kind]}: {self._how(kind)}" for kind in PLACES if kind in self.runs)

    def _how(self, kind: DeviceKind) -> str:
        more = f" ({self.of_language[kind]} for a language model)" if kind in self.of_language else ""
        return self.runs[kind] + more


def shipped() -> list[Shipped]:
    """Return all shipped recipes, by name."""
    return [_listed(name) for name in recipes.names()]


def _listed(name: str) -> Shipped:
    recipe = Recipe.load(name)
    generates = _task(recipe.workload) == "causal-lm"
    runs = {kind: how for kind in DEVICES if (how := how_it_runs(recipe, kind, generates)) is not None}
    # a recipe named after its workload's model (bert_int8 of stdlib-bert) is for models of that kind only
    if generates or name.startswith(f"{recipe.workload.rpartition('-')[2]}_"):
        return Shipped(name, first_sentence(name), runs)
    language = {kind: how for kind in runs if (how := how_it_runs(recipe, kind, generates=True)) is not None}
    return Shipped(name, first_sentence(name), runs, {kind: how for kind, how in language.items() if how != runs[kind]})


def _task(workload: str) -> str:
    """Return the task of a shipped workload, as its file states it."""
    path = recipes.FOLDER / "workloads" / f"{workload}.yaml"
    return str(parse_yaml(read_text(path, "workload"), str(path))[0].get("task", ""))


def first_sentence(name: str) -> str:
    """Return the first sentence of the comment at the head of a shipped recipe, without the recipe's name."""
    file = recipes.path(name)
    assert file is not None, name
    lines = read_text(file, "recipe").splitlines()
    head = " ".join(line.removeprefix("#").strip() for line in lines if line.startswith("#")).removeprefix(f"{name}: ")
    return re.split(r"(?<=\.) (?=[A-Z])", head, maxsplit=1)[0]


def how_it_runs(recipe: Recipe, kind: DeviceKind, generates: bool = False) -> str | None:
    """Return format and runtime of a recipe on a kind of device: `int8 under onnxruntime`; None if it cannot run.

    `generates`: its model is a language model. A GPU's generation and the installed packages are not considered.
    """
    runtime: str = recipe.runtime
    casts = [step.dtype for step in recipe.steps if step.method == "cast"]
    formats: list[str] = []
    for part in (part for step in recipe.steps if step.method == "quantize" for part in step.parts):
        try:
            row = choose(
                bits=part.bits,
                format=part.wanted_format,
                backend=part.wanted_backend,
                runtime=runtime,
                device=kind,
                with_cache=generates,
            )
        except InputError:
            return None
        formats, runtime = [*formats, row.format], row.runtime
    if runtime == "auto":
        runtime = PLAIN_RUNTIMES[kind][0]
    graph = runtime in GRAPH_RUNTIMES
    if (not formats and runtime not in PLAIN_RUNTIMES[kind]) or (graph and casts and kind == "cpu"):
        return None
    return f"{' and '.join(dict.fromkeys(formats)) or (casts[-1] if casts else 'fp32')} under {runtime}"
