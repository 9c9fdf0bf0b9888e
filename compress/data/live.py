"""A model and data in memory: written to a folder, they become an ordinary workload."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.base.config import InputError
from compress.base.files import content_hash
from compress.data import positions
from compress.data.dataset import Dataset
from compress.data.stored import UNQUANTIZED, stored_format
from compress.data.tasks import task_of
from compress.data.workload import Workload

if TYPE_CHECKING:
    import datasets


def check_examples(examples: Any, place: str) -> None:
    """Raise InputError unless `examples` is a data set."""
    import datasets

    if not isinstance(examples, datasets.Dataset):
        raise InputError(
            f"{place}: a {type(examples).__name__}; expected a datasets.Dataset; make one with "
            "datasets.Dataset.from_dict or .from_pandas"
        )


def prepare(examples: Any, task: str, processor: Any, model: Any) -> "datasets.Dataset":
    """Return the normalised examples of a live data set with the default column names."""
    check_examples(examples, "dataset=")
    declared, workload = task_of(task), describe("live", task, processor, model).of_training
    prepared = declared.prepare(examples, processor, workload, model.config)
    return declared.rows(prepared) if declared.trains_on_rows else prepared


def describe(folder: str, task: str, processor: Any, model: Any) -> Workload:
    """Return the workload of a live model; texts are cut at the task's usual length, or sooner."""
    limits = (task_of(task).usual_length, getattr(processor, "model_max_length", 128), positions.limit(model))
    return Workload(
        name="live",
        task=task,
        model=folder,
        dataset=Dataset(path=folder, train="train.parquet", test="test.parquet", **_columns(task)),
        max_length=max(8, min(int(limit) for limit in limits if limit)),
    )


def _columns(task: str) -> dict[str, str]:
    """Return the default columns of a task: each is called like its field."""
    return {column.field: column.field for column in task_of(task).columns if not column.optional}


def write(folder: Path, model: Any, processor: Any, dataset: "Mapping[str, datasets.Dataset]", task: str) -> Path:
    """Save model, processor and data; return the path of a workload file for them."""
    from ruamel.yaml import YAML

    if not isinstance(dataset, Mapping):
        raise InputError(
            f"dataset= is a {type(dataset).__name__}; expected a mapping of train and test to datasets.Dataset"
        )
    for split, examples in dataset.items():
        check_examples(examples, f"dataset=, {split}")
    if "test" not in dataset:
        raise InputError(
            f"dataset= has the splits {', '.join(dataset) or 'none'}; it needs test (and train for some steps)"
        )
    if (form := stored_format(model.config.to_dict())) is not None:
        raise InputError(
            f"model=: its weights are already stored in {form}, and transformers cannot save it again; use the folder "
            f"that it was loaded from as a workload, or {UNQUANTIZED}"
        )
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    (folder / "data").mkdir()
    for split in ("train", "test"):
        if split in dataset:
            dataset[split].to_parquet(folder / "data" / f"{split}.parquet")
    fields = describe("model", task, processor, model).model_dump(mode="json", exclude_none=True)
    fields["name"] = f"live-{content_hash(folder)[:8]}"  # two models in one notebook are two workloads
    fields["dataset"]["path"] = "data"
    if "train" not in dataset:
        fields["dataset"]["train"] = None
    path = folder / "live.yaml"
    with path.open("w", encoding="utf-8") as stream:
        YAML().dump(fields, stream)
    return path
