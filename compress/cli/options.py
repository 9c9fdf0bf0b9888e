"""Shared parts of the commands: the application, common options, and printing."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from compress.base.errors import InputError, gathered
from compress.base.terminal import console, print
from compress.base.version import __version__
from compress.cli import completion

MOST_SET = 200

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


def _print_version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


RESULTS = "Result files, folders of them, or names of recipes with a result in ./results."
RESULT = "A result file, or the name of a recipe with a result in ./results."
Out = Annotated[Path, typer.Option(help="Folder of results.")]
Workload = Annotated[
    str | None,
    typer.Option(help="Workload name or file, instead of the recipe's.", autocompletion=completion.workloads),
]
DeviceOption = Annotated[
    str, typer.Option(help="auto, cpu, cuda, cuda:N, or several: cuda:0,cuda:1.", autocompletion=completion.devices)
]
Artifacts = Annotated[Path, typer.Option(help="Folder of compressed models.")]
Fresh = Annotated[
    bool,
    typer.Option("--fresh", "--remeasure", help="Measure again even if a result exists; compressed models are reused."),
]
Margin = Annotated[
    str | None,
    typer.Option(
        help="Largest difference of the metric that counts as equal, in verdicts and on the front: 0.5pt (points), or "
        "0.5% (of perplexity, or of a metric without a scale); default: the recipe's."
    ),
]
Rebuild = Annotated[bool, typer.Option("--rebuild", help="Also compress again, replacing the models on disk.")]

Limit = Annotated[
    int | None,
    typer.Option(help="Evaluate, train and calibrate on at most this many examples; tables note the limit."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan with its minutes, and run nothing.")]


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Compress a Hugging Face model, measure accuracy, latency and energy, and read one Pareto table."""


def load_recipes(names: Sequence[str], assignments: Sequence[str] | None) -> list[Any]:
    """Return the recipes of these names or files with `--set` applied. Raises InputError with all their problems."""
    from compress.base.config import parse_assignment
    from compress.spec.recipe import Recipe

    if len(assignments or ()) > MOST_SET:
        raise InputError(
            f"--set is given {len(assignments or ())} times; expected {MOST_SET} at most: write a recipe file"
        )
    overrides = gathered(partial(parse_assignment, text) for text in assignments or ())
    return gathered(partial(Recipe.load, name, overrides) for name in names)


def print_tables(tables: Any, folder: Path | None = None) -> None:
    """Print tables, with a recommendation for each if the `folder` of their results is given."""
    from compress import report

    report.print_tables(tables, console(), folder)


def print_unread(problems: Sequence[str]) -> None:
    """Print one line on standard error for each file that was skipped."""
    from compress.report.text import plain

    for problem in problems:
        print(f"not read: {plain(problem)}", file=sys.stderr)
