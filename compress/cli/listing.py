"""Commands that list recipes, methods and workloads, and one that starts a workload file."""

from typing import Annotated

import typer

from compress.base.terminal import console
from compress.cli import completion
from compress.cli.options import app
from compress.data.tasks import TASKS


@app.command()
def recipes() -> None:
    """List the shipped recipes in one line each: what it does, the devices that can run it, format and runtime."""
    from compress import report
    from compress.spec.shipped import shipped

    report.print_recipes(shipped(), console())


@app.command()
def methods() -> None:
    """List the methods with every field, type, default and sentence."""
    from compress import report
    from compress.spec.steps import STEPS

    report.print_methods(STEPS, console())


@app.command()
def workloads() -> None:
    """List the shipped workloads."""
    from compress import report
    from compress.data.workload import Workload, names

    report.print_workloads([Workload.load(name) for name in names()], console())


@app.command()
def init(
    model: Annotated[str | None, typer.Option(help="Hub id or folder of a saved transformers model.")] = None,
    data: Annotated[str | None, typer.Option(help="Hub id, folder or file of the data.")] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help=f"One of {', '.join(TASKS)}; default: that of a model's folder.", autocompletion=completion.tasks
        ),
    ] = None,
) -> None:
    """Print a workload file for your own model and data; in a terminal it asks for missing values."""
    from compress.cli.questions import init as interactive_init

    interactive_init(model, data, task)
