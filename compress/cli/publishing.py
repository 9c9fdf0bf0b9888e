"""Commands that pass results on: a card, the hub, trackers."""

from pathlib import Path
from typing import Annotated, Any

import typer

from compress.base.errors import InputError
from compress.base.terminal import print
from compress.cli import completion
from compress.cli.options import app


@app.command()
def card(
    result: Annotated[Path, typer.Argument(help="A result file.")],
    artifact: Annotated[Path | None, typer.Option(help="Its artifact's folder; unset: where the result says.")] = None,
) -> None:
    """Write a Hugging Face model card into a result's artifact: what was done, what was measured, how to load it."""
    from compress import report
    from compress.records.files import read

    found = read(result)
    try:
        written = report.write_card(found, _artifact(result, found, artifact))
    except OSError as error:
        raise InputError(f"the card cannot be written ({error.strerror}); choose another --artifact") from None
    print(written)


@app.command()
def push(
    result: Annotated[Path, typer.Argument(help="A result file.")],
    repo: Annotated[str, typer.Option(help="Where on the hub: user/name.")],
    private: Annotated[bool, typer.Option("--private", help="Only you, or your organization, can see it.")] = False,
    artifact: Annotated[Path | None, typer.Option(help="Its artifact's folder; unset: where the result says.")] = None,
) -> None:
    """Upload a result's artifact with its card to the Hugging Face hub."""
    from compress import report
    from compress.records.files import read

    found = read(result)
    try:
        print(report.push(found, _artifact(result, found, artifact), repo, private))
    except OSError as error:
        raise InputError(f"{error.filename or result}: cannot be pushed ({error.strerror or error})") from None


def _artifact(path: Path, found: Any, given: Path | None) -> Path:
    """The folder of a result's artifact, as given or as the result says."""
    if given is None and found.artifact is None and found.error is None:
        raise InputError(f"{path}: its artifact was not kept; run the recipe again with --keep, or give --artifact")
    return given or Path(found.artifact or "")


@app.command()
def track(
    results: Annotated[list[Path], typer.Argument(help="Result files.", metavar="RESULT...")],
    to: Annotated[str, typer.Option(help="tensorboard, wandb or mlflow.", autocompletion=completion.trackers)],
    folder: Annotated[
        Path | None, typer.Option(help="Where local files go; unset: where the tracker keeps them.")
    ] = None,
    project: Annotated[str, typer.Option(help="Project or experiment.")] = "compress",
) -> None:
    """Send results to an experiment tracker: configuration, metrics, power trace."""
    from compress import report

    print("\n".join(report.track(results, to, folder, project)))
