"""The command line: parses and prints, never computes. Exit codes: 0 fine, 1 a recipe failed, 2 bad input."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from compress.config import InputError, parse_assignment
from compress.quiet import quiet_libraries

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Compress a Hugging Face model, measure accuracy, latency and energy, and read one Pareto table.",
)

Out = Annotated[Path, typer.Option(help="Folder of results.")]


@app.command()
def run(
    recipes: Annotated[list[str], typer.Argument(help="Recipe files, or names of shipped ones.", metavar="RECIPE...")],
    workload: Annotated[str | None, typer.Option(help="Workload name or file, instead of the recipe's.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change a field: steps.0.bits=4", metavar="PATH=VALUE")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    out: Out = Path("results"),
    artifacts: Annotated[Path, typer.Option(help="Folder of compressed models.")] = Path("artifacts"),
    keep: Annotated[bool, typer.Option(help="Keep the compressed models.")] = True,
    fresh: Annotated[bool, typer.Option(help="Run again what has a result already.")] = False,
    limit: Annotated[int | None, typer.Option(help="Take only so many test examples; every table says so.")] = None,
) -> None:
    """Run recipes in one session with shared references, and leave a result each."""
    from compress.harness import run_all
    from compress.plan import Options
    from compress.recipe import Recipe

    overrides = [parse_assignment(text) for text in set_ or ()]
    problems: list[str] = []
    loaded = []
    for name in recipes:
        try:
            loaded.append(Recipe.load(name, overrides))
        except InputError as error:
            problems.extend(error.problems)
    if problems:
        raise InputError(problems)
    options = Options(workload, device, out, artifacts, fresh, limit, keep)
    finished = run_all(loaded, options)
    _print_tables(finished)
    failures = [result for result in finished if result.error is not None]
    if failures:
        raise typer.Exit(1)


@app.command()
def pareto(
    folder: Annotated[Path, typer.Argument(help="Folder of results.", metavar="[DIR]")] = Path("results"),
    out: Annotated[Path | None, typer.Option(help="Where pareto.md, .csv and .png go; DIR when unset.")] = None,
) -> None:
    """Make the table, the front and the picture from result files only."""
    from compress import report
    from compress.results import read_all

    found, problems = read_all(folder)
    if not found:
        raise InputError(
            [*problems, f"{folder}: no results in it; run a recipe first: python -m compress run bert_int8"]
        )
    _print_tables(found, problems)
    for path in report.write_tables(found, out or folder, problems):
        print(path, file=sys.stderr)


@app.command()
def show(result: Annotated[Path, typer.Argument(help="A result file.")]) -> None:
    """Read one result in full."""
    from rich.console import Console

    from compress import report
    from compress.results import read

    report.print_result(read(result), Console(highlight=False))


@app.command()
def verify(result_files: Annotated[list[Path], typer.Argument(help="Result files.", metavar="RESULT...")]) -> None:
    """Compute every figure of results again from their raw samples, and report any that differ."""
    from compress.verify import verify as check

    found = [check(path) for path in result_files]
    for each in found:
        print(f"{each.path}: {each.figures} figures, {len(each.differences)} differ from the trace")
        for line in each.differences:
            print(f"  {line}")
    if any(each.differences for each in found):
        raise typer.Exit(1)


@app.command()
def methods() -> None:
    """List the methods with every field, type, default and sentence."""
    from rich.console import Console

    from compress import report
    from compress.methods.steps import STEPS

    report.print_methods(STEPS, Console(highlight=False))


@app.command()
def workloads() -> None:
    """List the shipped workloads."""
    from rich.console import Console

    from compress import report
    from compress.workloads import Workload, names

    report.print_workloads([Workload.load(name) for name in names()], Console(highlight=False))


@app.command()
def init(
    model: Annotated[str, typer.Option(help="Hub id or folder of a saved transformers model.")],
    data: Annotated[str, typer.Option(help="Hub id, folder or file of the data.")],
    task: Annotated[str, typer.Option(help="text-classification, image-classification or causal-lm.")],
) -> None:
    """Print a workload file for your own model and data."""
    from compress.workloads.template import init as template

    print(template(model, data, task), end="")


def _print_tables(found: Any, problems: Sequence[str] = ()) -> None:
    from rich.console import Console

    from compress import report

    report.print_tables(found, Console(highlight=False), problems)


def main() -> None:
    """Runs the command line; bad input is one message on standard error and exit code 2."""
    quiet_libraries()
    try:
        app()
    except InputError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; finished results and artifacts are whole, run the same command to go on", file=sys.stderr)
        sys.exit(130)
