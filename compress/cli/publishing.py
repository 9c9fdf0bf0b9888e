"""Commands that publish results: model card, exports, hub, experiment trackers."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from compress.base.errors import InputError, gathered
from compress.base.terminal import print
from compress.cli import completion
from compress.cli.options import RESULT, RESULTS, app


@app.command()
def card(
    result: Annotated[Path, typer.Argument(help=RESULT)],
    artifact: Annotated[
        Path | None, typer.Option(help="Folder of its artifact; default: the one in the result.")
    ] = None,
) -> None:
    """Write a Hugging Face model card into a result's artifact: what was done, what was measured, how to load it."""
    from compress import report
    from compress.analysis.among import read_among
    from compress.records.by_name import found

    result = found(result)
    judged = read_among(result)
    stored = judged.result
    try:
        written = report.write_card(stored, _artifact(result, stored, artifact), judged.recipes)
    except OSError as error:
        raise InputError(f"the card cannot be written ({error.strerror}); choose another --artifact") from None
    print(written)


@app.command()
def export(
    result: Annotated[Path, typer.Argument(help=RESULT)],
    to: Annotated[
        str,
        typer.Option(help="compressed-tensors, gguf, gptq, onnx or openvino.", autocompletion=completion.exports),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the export; default: exports/WORKLOAD/RECIPE/FORMAT.")
    ] = None,
    artifact: Annotated[
        Path | None, typer.Option(help="Folder of its artifact; default: the one in the result.")
    ] = None,
) -> None:
    """Write a result's model for llama.cpp, vLLM, onnxruntime or OpenVINO, with the same integers, and check it."""
    from compress import report
    from compress.analysis.among import read_among
    from compress.records.by_name import found
    from compress.records.exported import check_place, default_folder
    from compress.report.card import measured_manifest
    from compress.spec.exports import target_of

    target = target_of(to)
    result = found(result)
    judged = read_among(result)
    stored = judged.result
    source = _artifact(result, stored, artifact)
    folder = out or default_folder(source, target)
    check_place(target, folder)
    measured_manifest(stored, source)
    from compress.export import export as write

    made = write(source, target, folder)
    checks = [str(check) for check in made.checks]
    report.write_export_card(stored, made.folder, target, checks, made.remarks, judged.recipes)
    print("\n".join([str(made.folder), *(f"  {line}" for line in (*checks, *made.remarks))]))


@app.command()
def push(
    result: Annotated[Path, typer.Argument(help=RESULT)],
    repo: Annotated[str, typer.Option(help="Repository on the hub: user/name.")],
    private: Annotated[bool, typer.Option("--private", help="Visible only to you or your organization.")] = False,
    artifact: Annotated[
        Path | None, typer.Option(help="Folder of its artifact; default: the one in the result.")
    ] = None,
) -> None:
    """Upload a result's artifact with its card to the Hugging Face hub."""
    from compress import report
    from compress.analysis.among import read_among
    from compress.records.by_name import found

    result = found(result)
    judged = read_among(result)
    stored = judged.result
    try:
        print(report.push(stored, _artifact(result, stored, artifact), repo, private, judged.recipes))
    except OSError as error:
        raise InputError(f"{error.filename or result}: cannot be pushed ({error.strerror or error})") from None


def _artifact(path: Path, stored: Any, folder: Path | None) -> Path:
    """Return the folder of a result's artifact: the given one, else the one that the result records."""
    if folder is None and stored.artifact is None and stored.error is None:
        raise InputError(f"{path}: its artifact was not kept; run the recipe again with --keep, or set --artifact")
    return folder or Path(stored.artifact or "")


@app.command()
def track(
    results: Annotated[list[Path], typer.Argument(help=RESULTS, metavar="RESULT...")],
    to: Annotated[str, typer.Option(help="tensorboard, wandb or mlflow.", autocompletion=completion.trackers)],
    folder: Annotated[Path | None, typer.Option(help="Folder for local files; default: the tracker's own.")] = None,
    project: Annotated[str, typer.Option(help="Project or experiment.")] = "compress",
) -> None:
    """Send results to an experiment tracker: configuration, metrics, power trace."""
    from compress import report
    from compress.records.by_name import found

    print("\n".join(report.track(gathered(partial(found, path) for path in results), to, folder, project)))
