"""Commands that run models: recipes, a comparison of two recipes, the sensitivity of layers to a step."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from compress.base.device import AUTO
from compress.base.interrupts import GO_ON, insist
from compress.base.terminal import console, print
from compress.cli import completion
from compress.cli.options import (
    Artifacts,
    DeviceOption,
    DryRun,
    Fresh,
    Limit,
    Out,
    Rebuild,
    Workload,
    app,
    load_recipes,
    print_tables,
)

if TYPE_CHECKING:
    from compress.records.result import Result

MOST_PATHS = 3
"""Most result files, and most artifacts, that are listed after a run; of more, their folders are."""


@app.command()
def run(
    recipes: Annotated[
        list[str],
        typer.Argument(
            help="Recipe files, or names of shipped ones.", metavar="RECIPE...", autocompletion=completion.recipes
        ),
    ],
    workload: Workload = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change a field: steps.0.bits=4", metavar="PATH=VALUE")
    ] = None,
    device: DeviceOption = AUTO,
    out: Out = Path("results"),
    artifacts: Artifacts = Path("artifacts"),
    keep: Annotated[bool, typer.Option(help="Keep the compressed models.")] = True,
    fresh: Fresh = False,
    rebuild: Rebuild = False,
    limit: Limit = None,
    fitting: Annotated[
        bool,
        typer.Option("--fitting", help="Skip recipes that the device cannot run, or half precision that it lacks."),
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Run recipes in one session with shared references, and write one result per recipe."""
    insist(GO_ON)
    from compress.analysis.among import tables_of
    from compress.harness.plan import Options
    from compress.harness.run import run_all
    from compress.records.files import own_path

    loaded = load_recipes(recipes, set_)
    options = Options(workload, device, out, artifacts, fresh, limit, keep, fitting, rebuild)
    if dry_run:
        from compress.harness.forecast import preview

        for line in preview(loaded, options):
            print(line)
        return
    finished = run_all(loaded, options)
    if finished:  # nothing, if --fitting left all recipes out, which it has stated
        print_tables(tables_of((out / own_path(result), result) for result in finished), out)
    for line in places(finished, out):
        print(line, file=sys.stderr)
    failures = [result for result in finished if result.error is not None]
    if failures:
        raise typer.Exit(1)


def places(results: "Sequence[Result]", out: Path) -> Iterator[str]:
    """Yield the paths of result files and artifacts, or their folders if they are many, and the command for files."""
    from compress.records.files import own_path

    files = [path for result in results if (path := out / own_path(result)).exists()]
    models = [Path(result.artifact) for result in results if result.artifact is not None]
    for what, paths in (("result", files), ("artifact", models)):
        distinct = list(dict.fromkeys(paths))
        if len(distinct) > MOST_PATHS:
            yield from (f"{what}s: {folder}" for folder in dict.fromkeys(path.parent for path in distinct))
        else:
            yield from (f"{what}: {path}" for path in distinct)
    yield f"table, chart and page as files: python -m compress pareto {quote(str(out))}"


@app.command("map")
def map_(
    recipes: Annotated[
        list[str],
        typer.Argument(
            help="Recipe files, or names of shipped ones.", metavar="RECIPE...", autocompletion=completion.recipes
        ),
    ],
    batch: Annotated[str, typer.Option(help="Batch sizes, separated by commas.")] = "1,8,32",
    length: Annotated[
        str | None,
        typer.Option(
            help="Lengths in tokens, separated by commas, up to the model's positions; of language models the context, "
            "up to the positions less the generated tokens. Default: that of the workload's headline. Images have none."
        ),
    ] = None,
    phase: Annotated[
        str | None,
        typer.Option(help="Language models: decode or prefill. Default: decode.", autocompletion=completion.phases),
    ] = None,
    workload: Workload = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change a field: measure.budget_s=600", metavar="PATH=VALUE")
    ] = None,
    device: DeviceOption = AUTO,
    out: Annotated[Path, typer.Option(help="Folder of the map's results, pictures and CSV files.")] = Path("maps"),
    artifacts: Artifacts = Path("artifacts"),
    fresh: Fresh = False,
    rebuild: Rebuild = False,
    limit: Limit = None,
    dry_run: DryRun = False,
) -> None:
    """Measure recipes at every batch size and length, and report where they save and where the sign flips."""
    insist(GO_ON)
    from compress.data.grid import Grid
    from compress.harness.mapping import map_all, preview_map
    from compress.harness.plan import Options

    grid = Grid.parse(batch, length, phase)
    loaded = load_recipes(recipes, set_)
    options = Options(workload, device, out, artifacts, fresh, limit, rebuild=rebuild)
    if dry_run:
        for line in preview_map(loaded, grid, options):
            print(line)
        return
    finished = map_all(loaded, grid, options)
    from compress import report

    report.print_maps(finished, console())
    for path in report.write_maps(finished, out):
        print(path, file=sys.stderr)
    if any(result.error is not None for result in finished):
        raise typer.Exit(1)


@app.command()
def compare(
    recipes: Annotated[
        list[str], typer.Argument(help="Two recipes, files or names.", metavar="A B", autocompletion=completion.recipes)
    ],
    workload: Workload = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change a field of both: measure.rounds=10", metavar="PATH=VALUE")
    ] = None,
    device: DeviceOption = AUTO,
    out: Out = Path("results"),
    artifacts: Artifacts = Path("artifacts"),
    fresh: Fresh = False,
    rebuild: Rebuild = False,
    limit: Limit = None,
) -> None:
    """Compare two recipes, paired round by round in one session; both are measured again if no session holds both."""
    insist(GO_ON)
    from compress.harness.compare import RecipeFailed
    from compress.harness.compare import compare as compare_recipes
    from compress.harness.plan import Options

    loaded = load_recipes(recipes, set_)
    options = Options(workload, device, out, artifacts, fresh, limit, rebuild=rebuild)
    try:
        print("\n".join(compare_recipes(loaded, options).lines()))
    except RecipeFailed as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


@app.command()
def sensitivity(
    recipe: Annotated[
        str, typer.Argument(help="A recipe file, or the name of a shipped one.", autocompletion=completion.recipes)
    ],
    workload: Workload = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change a field: steps.0.bits=4", metavar="PATH=VALUE")
    ] = None,
    device: DeviceOption = AUTO,
    examples: Annotated[int, typer.Option(help="Number of training examples per loss.", min=2)] = 256,
    step: Annotated[
        int | None, typer.Option(help="Index of the step, from 0; default: the last that changes layers.")
    ] = None,
) -> None:
    """Measure the loss a step adds in each layer alone, to choose layers to exclude or override."""
    insist()
    from compress.harness.sensitivity import sensitivity as sensitivity_report

    (loaded,) = load_recipes([recipe], set_)
    print("\n".join(sensitivity_report(loaded, workload, device, examples, step).lines()))
