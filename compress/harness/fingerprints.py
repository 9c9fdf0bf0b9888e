"""What results and artifacts depend on: code, environment, and the content of model and data."""

from pathlib import Path
from typing import Any

from compress.analysis import metrics
from compress.base.config import InputError, digest
from compress.base.files import content_hash
from compress.base.processes import threads
from compress.base.reading import exists, expanded, irregular
from compress.base.source_code import code_digest
from compress.data import hub
from compress.data.source import ORIGIN, Source
from compress.records.result import Machine
from compress.spec.recipe import Recipe

ARTIFACT_CODE = (
    "base", "spec", "data", "model", "methods", "harness/transform.py", "harness/cost.py", "harness/prequantized.py",
    "harness/streaming.py",
    "measure/latency.py", "measure/size.py", "measure/evaluate.py",
)  # fmt: skip
"""Code that an artifact depends on: edits elsewhere do not trigger another compression."""
RESULT_CODE = (*ARTIFACT_CODE, "measure", "energy")
"""Code that a result's raw samples depend on. Figures and verdicts are not covered: `verify` recomputes them."""


def environment(machine: Machine) -> list[Any]:
    """Return what a transform and a session depend on in a machine."""
    return [machine.versions, machine.device, machine.device_name, machine.uuid]


def evaluation(source: Source, limit: int | None, seed: int, machine: Machine) -> str:
    """Return the digest of what the evaluation of a reference depends on."""
    metric = metrics.digest(source.workload.metric_source)
    return digest([source.digest, metric, limit, seed, threads(), code_digest(RESULT_CODE), *environment(machine)])


def transform_inputs(source: Source, machine: Machine) -> list[Any]:
    """Return what a transform depends on besides its recipe: not the test split, the metric or the points.

    Model and data are identified by their content; a model that was made from another one by its folder too, whose
    name is a digest of what it was made of: classes may be those of the test split.
    """
    excluded: Any = {
        "name": True,
        "model": True,
        "metric": True,
        "headline": True,
        "points": True,
        "mapped": True,
        "windows": True,
        "stride": True,
        "normalization": True,
        "threshold": True,
        "longest_answer": True,
        "null_threshold": True,
        "bleu_tokenizer": True,
        "normalizer": True,
        "dataset": {"path", "test", "test_examples"},
    }
    settings = source.workload.model_dump(mode="json", exclude=excluded)
    content = [settings, source.resolved["model_content"], source.resolved["dataset_content"]]
    derived = [Path(source.model).name] if ORIGIN in source.resolved else []
    return [content, *derived, code_digest(ARTIFACT_CODE), *environment(machine)]


def named_content(recipe: Recipe) -> list[str]:
    """Return the content of what steps name: models of students, and corpora of vocabularies.

    Raises InputError for what does not exist.
    """
    students = [content_id(s.model) for s in recipe.steps if s.method == "distill" and s.model is not None]
    return students + [corpus_id(s.corpus) for s in recipe.steps if s.method == "prune" and s.corpus is not None]


def corpus_id(corpus: str) -> str:
    """Return the content hash of a text file. Raises InputError if there is none."""
    path, place = expanded(corpus), f"prune vocabulary corpus {corpus}"
    if not exists(path):
        raise InputError(
            f"{place}: no such file; expected a text file (UTF-8), or leave corpus out for the train split"
        )
    if (kind := irregular(path)) is not None:
        raise InputError(f"{place}: is {kind}; expected a text file (UTF-8)")
    return content_hash(path)


def content_id(model: str) -> str:
    """Return the content hash of a model's folder, or the commit of a hub model."""
    path = expanded(model)
    if not path.exists():
        if not hub.is_id(model):
            raise InputError(f"distill model {model}: no such folder; expected a saved model, or a hub id")
        return hub.commit(model, "model", None)
    return content_hash(path)
