"""Results from a session's raw figures: estimates, paired ratios, sizes, verdicts. No torch."""

import errno
import hashlib
import itertools
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.analysis import figures
from compress.analysis.costs import Raw
from compress.analysis.generation import generation, note
from compress.analysis.judging import judged
from compress.analysis.price import transform
from compress.analysis.ratios import cost_ratio
from compress.data.source import Source
from compress.measure.job import Job, Spec, judged_against
from compress.measure.size import stored_bytes
from compress.records import trace
from compress.records.layer_map import layer_map
from compress.records.machine import code_version
from compress.records.result import SCHEMA, Kernel, Machine, Reference, Result, Size
from compress.records.session import Memory, MeterFacts, Request, Runner, Session
from compress.records.stats import SESSION_SPREAD
from compress.spec.recipe import Recipe

if TYPE_CHECKING:
    from compress.model.manifest import Manifest


@dataclass(frozen=True)
class Built:
    """A recipe whose artifact is on disk."""

    recipe: Recipe
    source: Source
    fingerprint: str
    path: Path
    """File of its result."""
    folder: Path
    manifest: "Manifest"
    kept: bool = True
    """Whether the artifact stays on disk after it has been measured."""
    further: tuple["Built", ...] = ()
    """Artifacts of the recipe's further seeds, of which only the accuracy is measured."""


def _row(recipe: Recipe, source: Source, fingerprint: str, machine: Machine, limit: int | None, **parts: Any) -> Result:
    """Return a result with everything that is known before measuring, and `parts`."""
    assumed = recipe.measure.session_spread
    return Result(
        schema=SCHEMA,
        name=recipe.name,
        fingerprint=fingerprint,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        code_version=code_version(),
        seed=recipe.seed,
        session_spread=SESSION_SPREAD if assumed is None else assumed,
        recipe=recipe.model_dump(mode="json"),
        workload=_portable({**source.workload.model_dump(mode="json"), "resolved": source.resolved}),
        machine=machine,
        limit=limit,
        margin=recipe.measure.margin,
        **parts,
    )


def _portable(value: Any) -> Any:
    """Return a value with nearby absolute paths made relative to the current folder, so that they work elsewhere."""
    if isinstance(value, dict):
        return {key: _portable(item) for key, item in value.items()}
    if isinstance(value, str) and Path(value).is_absolute():
        relative = os.path.relpath(value)
        return relative if relative.count("..") <= 2 else value
    return value


def failed(
    recipe: Recipe, source: Source, fingerprint: str, machine: Machine, limit: int | None, error: Exception
) -> Result:
    """Return the result of a recipe that could not be built or measured."""
    kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
    message = f"{kind}{error}"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        place = error.filename or f"{tempfile.gettempdir()} (temporary files, TMPDIR) or the folder of artifacts"
        message = f"no space left on the device of {place}; free some space and run the same command again"
    return _row(recipe, source, fingerprint, machine, limit, session="", error=message)


def judge(sessions: Sequence[Session], references: Sequence[Spec], job: Job) -> tuple[Raw, list[Spec], tuple[str, ...]]:
    """Return the sessions' samples with their references and metric, the references that were measured, and notes.

    Raises RuntimeError if the first session measured no eager reference.
    """
    session, *further = sessions
    missing = {s.name: error for s in references if (error := session.runner(s.name).error)}
    present = [spec for spec in references if spec.name not in missing]
    if not any(spec.runtime == "eager" for spec in present):
        raise RuntimeError("; ".join(f"the reference {n} could not be measured: {e}" for n, e in missing.items()))
    raw = Raw(
        session,
        references=tuple(spec.name for spec in present),
        against=judged_against(present),
        metric=job.workload.metric_name,
        seed=job.seed,
        further=tuple(further),
        protocol=job.workload.protocol,
    )
    raw, remark = without_straw_man(raw)
    notes = [remark] if remark else []
    notes += [f"the reference {name} could not be measured: {error}" for name, error in missing.items()]
    notes += [f"the reference {spec.name} {note}" for spec in present for note in figures.failures(raw, spec.name)]
    notes += list(
        dict.fromkeys(runner.remark for runner in session.runners if runner.remark and runner.name in raw.references)
    )
    notes += [session.in_turn] if session.in_turn else []
    if session.quota_cores is not None:
        notes.append(
            f"the control group's CPU quota is {session.quota_cores:g} cores; models ran on {job.threads} threads"
        )
    notes += _smaller_batches(job, session.runner(raw.against))
    notes += [_doctor_note(session.meter)] if session.meter.source == "nvml" else []
    return raw, present, tuple(notes)


def _smaller_batches(job: Job, evaluated: Runner) -> list[str]:
    """Return a note on natural points of larger batches than the test split; empty without any."""
    examples = len(next(iter(evaluated.outcomes.values())))
    points = job.workload.measured_points(job.settings.points)
    larger = [str(p.batch_size) for p in points if p.fitted(examples) != p]
    if not larger:
        return []
    return [f"the test split has {examples} examples, so the natural points of batch {', '.join(larger)} "
            f"{'was' if len(larger) == 1 else 'were'} measured with batches of {examples}"]  # fmt: skip


def _doctor_note(meter: MeterFacts) -> str:
    """Return a note on whether doctor has examined the board, and its counter's step."""
    step = f"{1e3 * (meter.step_s or 0.0):.0f} ms"
    if meter.doctor:
        return f"doctor examined this board on {meter.doctor}: its counter moves every {step}"
    if meter.like_another:
        return f"doctor has not examined this board: its counter is assumed to move every {step}, like that of its kind"
    return "doctor has not examined this board: its counter is not read faster near the edges of windows"


def without_straw_man(raw: Raw) -> tuple[Raw, str | None]:
    """Return the samples with the first reference as the baseline if half precision costs measurably more, and a note.

    CPUs without a matrix unit for bf16 can be slower in bf16 than in fp32. Anything compared with such a baseline would
    seem to save.
    """
    first = raw.references[0]
    ratio = None if raw.against == first else cost_ratio(raw, raw.against, first)
    if ratio is None or ratio.low <= 1:
        return raw, None
    times = f"{ratio.value:.2g} times, {ratio.low:.2g} to {ratio.high:.2g}"
    note = f"{raw.against} costs more than {first} on this device ({times}), so verdicts compare with {first}"
    return replace(raw, against=first), note


def assemble(
    items: Sequence[Built],
    references: Sequence[Spec],
    job: Job,
    sessions: Sequence[Session],
    machine: Machine,
    name: str,
    out: Path,
) -> list[Result]:
    """Return one result per item, with verdicts.

    Writes the raw samples to a folder `name` next to the results, those of further sessions to `name`-2, `name`-3 ...
    """
    compressing = {item.recipe.name: item.manifest.extra["transform"] for item in items}
    request = Request(job.limit, {item.recipe.name: item.recipe.seed for item in items})
    first = replace(sessions[0], request=request, compressing=compressing)
    raw, present, remarks = judge((first, *sessions[1:]), references, job)
    session = raw.session
    place, *places = (Path(job.workload.name) / trace.FOLDER / each for each in trace.names(name, len(sessions)))
    trace.write(out / place, replace(session, judged_by=raw.judged_by))
    for further_place, further in zip(places, raw.further, strict=True):
        trace.write(out / further_place, further)
    rows = tuple(_reference(raw, spec, session.runner(present[0].name)) for spec in present)
    results = []
    for item in items:
        parts: dict[str, Any] = {"session": name, "trace": str(place), "references": rows, "settings": job.settings}
        parts |= _result(raw, item, remarks)
        parts["further_traces"] = tuple(map(str, places))
        counted = None if parts.get("accuracy") is None else parts["accuracy"].estimate.n
        limit = figures.limit(job.limit, counted)
        results.append(judged(_row(item.recipe, item.source, item.fingerprint, machine, limit, **parts)))
    return results


def _reference(raw: Raw, spec: Spec, dense: Runner) -> Reference:
    """Return the figures of a reference. `dense`: the runner that has the parameters of exported graphs too."""
    runner = raw.session.runner(spec.name)
    stored = stored_bytes(Path(spec.path)) if spec.path else runner.weight_bytes
    assert dense.parameters is not None and dense.nonzero is not None and stored is not None
    size = _size(runner, dense.parameters, dense.nonzero, stored)
    return Reference(
        spec.name,
        spec.name == raw.against,
        figures.accuracy(raw, spec.name),
        figures.points(raw, spec.name),
        size,
        _kernel(runner),
        generation(raw, spec.name),
    )


def _result(raw: Raw, item: Built, remarks: Sequence[str]) -> dict[str, Any]:
    """Return the measured fields of a recipe's result."""
    name, extra = item.recipe.name, item.manifest.extra
    runner = raw.session.runner(name)
    parts: dict[str, Any] = {
        "runtime": extra["runtime"],
        "transform": transform(extra["transform"]),
        "artifact": str(item.folder) if item.kept else None,
        "artifact_sha256": hashlib.sha256((item.folder / "manifest.json").read_bytes()).hexdigest(),
        "notes": (*extra["notes"], *_cost_note(item), *remarks),
    }
    errors = [f"seed {r.seed}: {r.error}" for r in raw.session.runners if r.further_of == name and r.error]
    if runner.error or errors:
        return {**parts, "error": runner.error or "; ".join(errors)}
    return {
        **parts,
        "accuracy": figures.accuracy(raw, name),
        "points": figures.points(raw, name),
        "generation": (written := generation(raw, name)),
        "size": _size(runner, extra["parameters"], extra["nonzero"], stored_bytes(item.folder)),
        "kernel": _kernel(runner),
        "layers": layer_map(item.folder, item.manifest.layers),
        "notes": (
            *extra["notes"],
            *_cost_note(item),
            *_own(runner, remarks),
            *_notes(raw, name),
            *note(written),
            *remarks,
        ),
    }


def _notes(raw: Raw, name: str) -> tuple[str, ...]:
    """Return the notes on a runner's measurement, on points and further sessions without figures included."""
    measured = figures.disturbances(raw, name), figures.imprecise(raw, name)
    points = figures.lacking(raw, name), figures.smaller(raw, name)
    return tuple(itertools.chain(*measured, *points, figures.failures(raw, name)))


def _own(runner: Runner, remarks: Sequence[str]) -> list[str]:
    """Return the remark on a runner's examples, if it is not the reference's, and one on texts without an end."""
    notes = [runner.remark] if runner.remark and runner.remark not in remarks else []
    if cut := sum(value > 0 for value in runner.outcomes.get("unended", ())):
        notes.append(f"{cut} of {len(runner.outcomes['unended'])} generated texts have no end: cut at max_new_tokens")
    return notes


def _cost_note(item: Built) -> list[str]:
    """Return a note on what the cost of compressing covers; empty for a recipe with one seed."""
    if not item.further:
        return []
    others = ", ".join(str(further.recipe.seed) for further in item.further)
    return [f"time and energy of compressing are those of seed {item.recipe.seed}; seeds {others} are not counted"]


def _size(runner: Runner, parameters: int, nonzero: int, stored: int) -> Size:
    memory = runner.memory
    reason = memory.reason or (None if memory != Memory() else "memory could not be measured on this system")
    return Size(parameters, nonzero, stored, memory.memory_bytes, memory.peak_memory_bytes, reason)


def _kernel(runner: Runner) -> Kernel:
    assert isinstance(runner.kernel, Kernel)  # a runner that could not be profiled has an error instead
    return runner.kernel
