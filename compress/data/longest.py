"""The longest row of a test split in tokens, for a new workload whose rows would lose their beginning."""

from pathlib import Path

from compress.base.errors import InputError, as_input_error
from compress.base.yaml import parse_yaml
from compress.data import loading
from compress.data.point import MOST_TOKENS
from compress.data.source import Source
from compress.data.tasks import task_of
from compress.data.workload import Workload


def longest_row(model: Path, data: Path, text: str) -> int | None:
    """Return the number of tokens of the longest row, special tokens included; None if the rows cannot be read.

    `text`: the YAML of the workload without a max_length. `run` reports why model or data cannot be read.
    """
    try:
        with as_input_error(lambda reason: f"the rows cannot be read ({reason})"):
            plain, _ = parse_yaml(text, "workload")
            workload = Workload.model_validate({**plain, "max_length": MOST_TOKENS})
            resolved = {"model_revision": None, "dataset_revision": None}
            source = Source(workload, str(model), str(data), digest="", resolved=resolved)
            examples = loading.load_examples(source, "test", loading.load_processor(source), None)
            return max(map(len, task_of(workload.task).rows(examples)["input_ids"]))
    except InputError:
        return None
