"""A Hugging Face model card for an artifact, from its result: recipe, measurements, and how to load it.

`compress.report.card_head` makes the YAML head, which the hub reads. The text below it states only facts of the result.
No torch is needed.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from compress.analysis.judging import states_cost
from compress.analysis.verdict import MEASURED
from compress.base import reading
from compress.base.config import InputError
from compress.base.files import SPELLED, write_atomic
from compress.base.places import own_file
from compress.data.model_card import STATED
from compress.data.tasks import TASKS, task_of
from compress.model.manifest import FILES, MANIFEST, MOST_BYTES, Kind, file_problems
from compress.records.result import Result
from compress.report import text
from compress.report.card_head import head, public, stated
from compress.report.card_measured import measured
from compress.report.describe import steps
from compress.report.rerun import rerun
from compress.report.row_notes import is_method
from compress.report.serving import Leaving, of_artifact, of_export
from compress.spec.formats import GRAPHS

CARD = "README.md"
escaped = text.markdown
LIBRARIES = (
    "torch", "transformers", "onnxruntime", "onnxruntime-gpu", "openvino", "xllamacpp",
    "onnxruntime-genai", "bitsandbytes", "torchao",     "optimum-quanto",
)  # fmt: skip


def write_card(result: Result, artifact: Path, recipes: int = 1) -> Path:
    """Write the card into the artifact's folder and return its path.

    `recipes`: how many recipes the verdict is adjusted for.

    Raises InputError if the recipe failed, or if the folder is not the artifact that was measured.
    """
    manifest = measured_manifest(result, artifact)
    place = artifact / CARD
    write_atomic(place, card(result, manifest["plain"], manifest["kind"], recipes=recipes).encode(errors=SPELLED))
    return place


def measured_manifest(result: Result, artifact: Path) -> dict[str, Any]:
    """Return the manifest of a result's artifact, after checking every file against it.

    Raises InputError if the folder is not an artifact, is another one, is damaged, or has files outside of it.
    """
    if result.error is not None:
        raise InputError(f"{result.name} failed ({text.first_line(result)}); there is nothing to publish")
    try:
        raw = reading.content(artifact / MANIFEST, "manifest", MOST_BYTES)
    except InputError as error:
        raise InputError(
            f"{artifact}: its {MANIFEST} cannot be read ({error}); expected the artifact of "
            f"{result.name}; name its folder with --artifact, or run the recipe with --keep"
        ) from None
    if result.artifact_sha256 is None or hashlib.sha256(raw).hexdigest() != result.artifact_sha256:
        raise InputError(
            f"{artifact}: is not the artifact of this result, but a different model (from another run: the sha256 of "
            f"its manifest differs); {rerun(result)}"
        )
    if (artifact / CARD).is_symlink() or (artifact / CARD).is_file():
        own_file(artifact / CARD)
    elif (artifact / CARD).exists():
        raise InputError(f"{artifact / CARD}: not a regular file; expected a model card, or no file of this name")
    try:
        manifest: dict[str, Any] = json.loads(raw)
        files = dict(manifest.setdefault("files", {}))
        is_kind = manifest.setdefault("kind", "transformers") in get_args(Kind)
        digests = all(isinstance(digest, str) for digest in files.values())
        valid = is_kind and digests and isinstance(manifest["plain"], bool)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        valid = False
    if not valid:
        raise InputError(f"{artifact / MANIFEST}: not the manifest of an artifact; run the recipe again")
    problems = file_problems(artifact, files)
    if problems:
        raise InputError(problems)
    return manifest


def card(
    result: Result, plain: bool, kind: Kind = "transformers", leaving: Leaving | None = None, recipes: int = 1
) -> str:
    """Return the whole card of an artifact of this kind, or of its export.

    `plain`: the artifact loads with plain `from_pretrained`. `recipes`: how many recipes the verdict is adjusted for.
    """
    task = str(result.workload.get("task"))
    own = task in TASKS and task_of(task).own_classes
    yaml = head(result, plain and not own, kind, None if leaving is None else leaving.target)
    return f"---\n{yaml}\n---\n\n" + "\n".join(_body(result, plain, kind, own, leaving, recipes))


def _body(result: Result, plain: bool, kind: Kind, own: bool, leaving: Leaving | None, recipes: int) -> Iterable[str]:
    """Yield the lines below the head."""
    workload = result.workload
    yield f"# {escaped(result.name)}"
    yield ""
    if result.limit is not None:
        yield f"**Judged on {result.limit} test examples only.**"
        yield ""
    if result.verdict is not None:
        yield (
            escaped(result.verdict.sentence)
            + "."
            + (f" Why: {escaped(result.verdict.cause)}." if result.verdict.cause else "")
            + (f" ({text.adjustment(recipes).capitalize()}.)" if states_cost(result.verdict) else "")
        )
        yield ""
    base = public(workload.get("model"), workload, "model") or Path(str(workload.get("model"))).name
    made = f"Made from {escaped(base)} with compress {escaped(result.code_version)}"
    yield f"{made}, judged on {escaped(workload.get('name'))}."
    yield ""
    yield "## Compression"
    yield ""
    yield from (f"- {escaped(line)}" for line in steps(replace(result, recipe=_without_paths(result.recipe))))
    yield from (f"- {escaped(note)}" for note in result.notes if is_method(note, result))
    if result.transform is not None:
        spent = text.joined(_joules(result))
        yield f"- compressing took {text.digits(result.transform.seconds)} s{spent}"
    if result.breakeven is not None:
        yield f"- {text.example_of(result)}s until break-even: {escaped(text.breakeven_words(result.breakeven))}"
    yield ""
    yield "## Measurements"
    yield ""
    yield from measured(result)
    yield ""
    yield "## Loading"
    yield ""
    yield from _loading(plain, kind, own) if leaving is None else of_export(leaving)
    yield ""
    if leaving is None and workload.get("task") == "causal-lm":
        yield from of_artifact(escaped(result.name), kind)
    yield "## Energy"
    yield ""
    yield from _energy(result)
    yield ""
    yield "## Limits and provenance"
    yield ""
    yield from _provenance(result)
    yield ""


def _without_paths(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe with the names of students' folders instead of their paths."""
    named_steps = [
        {**step, "model": Path(str(step["model"])).name} if step.get("model") else step
        for step in recipe.get("steps", ())
    ]
    return {**recipe, "steps": named_steps}


def _joules(result: Result) -> text.Lines:
    """Return the measured energy of compressing as a cell, empty if it was not measured."""
    spent = result.transform
    if spent is None or spent.energy_j is None or spent.energy_source not in MEASURED:
        return ("",)
    return (f" and {text.digits(spent.energy_j)} J ({spent.energy_source})",)


def _loading(plain: bool, kind: Kind, own: bool) -> Iterable[str]:
    """Yield how to load an artifact. `own`: its class is one of this package."""
    if plain and own:
        yield "Plain transformers has no class for it. To load it with its processor:"
    elif plain:
        yield "It is a plain transformers model: `from_pretrained` loads it. To load its processor too:"
    elif kind in GRAPHS:
        file, runtime = FILES[kind, False][0][0], GRAPHS[kind][0]
        yield f"It is a graph: {runtime} opens `{file}` by itself. To load it with its processor:"
    else:
        yield "Its layers are not those of a plain transformers model; compress rebuilds them from `manifest.json`:"
    yield ""
    yield "```python"
    yield "from compress import load"
    yield ""
    yield 'model, processor = load("path/to/this/folder")'
    yield "```"


def _energy(result: Result) -> Iterable[str]:
    point = result.headline
    if point is None or point.energy_source not in MEASURED or point.energy_j is None:
        why = (point.energy_reason if point else None) or "no meter"
        yield f"Not measured: {escaped(why)}. The statements above use latency."
        return
    covers = f", covering {escaped(point.energy_boundary)}" if point.energy_boundary else ""
    yield f"Measured by {point.energy_source}{covers}: grade {point.grade}."
    yield from (f"- {escaped(reason)}" for reason in point.grade_reasons)
    if point.energy_gain:
        gain = f"{100 * point.energy_gain:.0f} %"
        yield f"- gain error of the meter: up to {gain} in either direction; it cancels in ratios"


def _origin(workload: Mapping[str, Any]) -> Iterable[str]:
    """Yield data and licence, with the base model of a model that is not of the hub."""
    dataset, own = workload.get("dataset", {}), stated(workload)
    if path := dataset.get("path"):
        split = f", split {escaped(dataset['test'])}" if dataset.get("test") else ""
        yield f"- data: {escaped(public(path, workload, 'dataset') or Path(str(path)).name)}{split}"
    if "base_model" in own and public(workload.get("model"), workload, "model") is None:
        yield f"- the model that was compressed derives from {_listed(own['base_model'])}, by its own card"
    if "license" in own:
        more = "".join(f", {_listed(own[name])}" for name in ("license_name", "license_link") if name in own)
        yield f"- licence of the model that was compressed, by its own files: {_listed(own['license'])}{more}"
    elif STATED in (workload.get("resolved") or {}):
        yield "- licence: the files of the model that was compressed state none"
    else:
        yield "- licence: that of the model that was compressed was not recorded"


def _listed(value: str | list[str]) -> str:
    return escaped(value if isinstance(value, str) else ", ".join(value))


def _provenance(result: Result) -> Iterable[str]:
    accuracy = result.accuracy
    if accuracy is not None and accuracy.batch_sensitivity is not None:
        differing = text.differing(accuracy.batch_sensitivity)
        yield f"- answers that differ between batch 1 and 32: {differing}"
    if accuracy is not None and accuracy.seeds:
        ranged = escaped(text.trainings(result))
        yield f"- {ranged}; this model is of seed {result.seed}, and intervals of accuracy cover another training"
    yield from _origin(result.workload)
    device = escaped(result.machine.device_name)
    yield f"- energy and latency hold for {device}; compare ratios, and measure on your own device"
    known = {name: result.machine.versions[name] for name in LIBRARIES if name in result.machine.versions}
    yield f"- made with {', '.join(f'{name} {version}' for name, version in known.items()) or 'unknown libraries'}"
    yield f"- result of {escaped(result.created)}, fingerprint {escaped(result.fingerprint)}, {text.seeds(result)}"
    yield "- the result file and its raw samples let `python -m compress verify` compute its figures again"
