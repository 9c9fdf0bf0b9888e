"""What the tests of several tasks share: bundles of made data, graphs, other commands that read a result, refusals."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard

from compress.data import live
from compress.data.tasks.task import Task
from compress.model.bundle import Bundle
from compress.model.runtimes.check import checked
from compress.model.runtimes.openvino import OpenVinoModel, saved
from compress.records import files as result_files
from compress.records import trace
from tests.helpers import QUICK, compress, tokenizer


def bundled(model: Any, task: Task, rows: Mapping[str, Any], words: Any = None, **changes: Any) -> Bundle:
    """A bundle that trains on made rows, in the columns of a live data set, with a copy of the model as teacher.

    `words` is its tokenizer, unless it is the made one.
    """
    words = words or tokenizer()

    def examples(*_: Any) -> Any:
        import datasets

        return live.prepare(datasets.Dataset.from_dict(dict(rows)), task.name, words, model)

    parts: dict[str, Any] = {"train": examples, "examples": examples, "teacher": lambda: copy.deepcopy(model)}
    return Bundle(model, words, task.name, torch.device("cpu"), **{**parts, **changes})


def graph_of(bundle: Bundle, runtime: str) -> Any:
    """The bundle's model as the graph of onnxruntime, or the same graph opened by OpenVINO."""
    graph: Any = checked(bundle, runtime)
    if runtime != "openvino":
        return graph
    import openvino

    return saved(openvino.convert_model(str(graph.path)), bundle.model.config, OpenVinoModel)


def read_by(command: str, file: Path, artifact: Path, tag: str, metric: str, max_loss: str = "5pt") -> str:
    """What another command writes about a result; its card has this pipeline tag and metric."""
    folder = artifact.parents[2]
    limits = ("--baseline", "results", "--max-loss", max_loss)
    arguments: list[Any] = {"pareto": ["results"], "check": [file, *limits]}.get(command, [file])
    done = compress(command, *arguments, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    if command == "card":
        data = ModelCard.load(artifact / "README.md").data
        assert (data.pipeline_tag, data.eval_results[0].metric_type) == (tag, metric)
        return metric
    return done.stdout if command != "pareto" else (folder / "results" / "pareto.md").read_text()


def verified(file: Path, runner: str) -> tuple[Any, Mapping[str, Any]]:
    """The result in a file, which equals its trace by `verify`, and the outcomes of a runner in the trace."""
    done = compress("verify", file, cwd=file.parents[2])
    assert done.returncode == 0 and "0 differ from the trace" in done.stdout, done.stdout + done.stderr
    result = result_files.read(file)
    session = trace.read(trace.located(file, result.traces[0]))
    return result, next(each.outcomes for each in session.runners if each.name == runner)


def refused(workload: Path, field: str, value: str, expected: str, recipe: str = "bert_dense") -> None:
    """Run with a field that does not apply: one error with the reason, exit code 2."""
    arguments = ("--set", f"{field}={value}", "--out", "other")
    done = compress("run", recipe, "--workload", workload, *QUICK, *arguments, cwd=workload.parent)
    assert done.returncode == 2, done.stdout + done.stderr
    assert expected in " ".join(done.stderr.split()), done.stderr
