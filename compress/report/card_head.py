"""The head of a model card: the metadata that the hub reads, in YAML. No torch is needed.

    base_model, license     as the compressed model's own files state them (`compress.data.model_card`)
    library_name            what loads the artifact: transformers if it is plain, otherwise compress; or its export
    datasets, metrics       data of the hub, and the metric; model-index has the value

What is unknown is left out.
"""

from collections.abc import Mapping
from typing import Any

from compress.data.hub import is_id
from compress.data.model_card import STATED, checked
from compress.data.tasks import TASKS, task_of
from compress.model.manifest import Kind
from compress.records.result import Result
from compress.report.serving import LIBRARY
from compress.spec.exports import Target
from compress.spec.formats import GRAPHS


def head(result: Result, plain: bool, kind: Kind, target: Target | None = None) -> str:
    """Return the metadata as YAML. `plain`: transformers loads the artifact, whose manifest has this `kind`.

    `target`: the format of an export, which other programs load.
    """
    from huggingface_hub import EvalResult, ModelCardData

    workload, accuracy = result.workload, result.accuracy
    dataset, own = workload.get("dataset", {}), stated(workload)
    task = str(workload.get("task"))
    task = task_of(task).pipeline_tag if task in TASKS else task  # a newer version may have other tasks
    data = public(dataset.get("path"), workload, "dataset")
    known = accuracy if accuracy is not None and accuracy.known else None
    whole = known if result.limit is None else None  # the hub would take it for the metric of the whole split
    methods = sorted({str(step.get("method")) for step in result.recipe.get("steps", ())})
    evaluated = (
        None
        if whole is None
        else EvalResult(
            task_type=task,
            dataset_type=data or str(workload.get("name")),
            dataset_name=str(workload.get("name")),
            dataset_config=_text(dataset.get("name")),
            dataset_split=_text(dataset.get("test")),
            dataset_revision=_text((workload.get("resolved") or {}).get("dataset_revision")),
            metric_type=whole.metric,
            metric_value=round(whole.estimate.value, 6),
        )
    )
    return str(
        ModelCardData(
            model_name=result.name,
            base_model=public(workload.get("model"), workload, "model") or own.get("base_model"),
            license=own.get("license"),
            license_name=own.get("license_name"),
            license_link=own.get("license_link"),
            datasets=[data] if data else None,
            library_name=LIBRARY[target] if target else "transformers" if plain else "compress",
            pipeline_tag=task,
            tags=["compress", *methods, *([target] if target else [kind] if kind in GRAPHS else [])],
            metrics=None if known is None else [known.metric],
            eval_results=None if evaluated is None else [evaluated],
        ).to_yaml()
    ).strip()


def public(name: Any, workload: Mapping[str, Any], part: str) -> str | None:
    """Return a hub id, or None for a local folder. Only models and data from the hub have a revision."""
    path, resolved = str(name or ""), workload.get("resolved")
    if isinstance(resolved, Mapping):
        return path if resolved.get(f"{part}_revision") and is_id(path) else None
    return path if path.count("/") == 1 and is_id(path) else None


def stated(workload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what the model states of itself, as far as the result recorded it in the expected form."""
    found = (workload.get("resolved") or {}).get(STATED)
    return checked(found) if isinstance(found, Mapping) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
