"""The command line: parses and prints, never computes.

Exit codes: 0 fine, 1 a recipe failed or a result could not be written, 2 bad input, 130 interrupted (Ctrl-C).
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from compress import completion
from compress.errors import InputError, NotWritten, gathered
from compress.quiet import quiet_libraries

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Compress a Hugging Face model, measure accuracy, latency and energy, and read one Pareto table.",
)

Out = Annotated[Path, typer.Option(help="Folder of results.")]
Workload = Annotated[
    str | None,
    typer.Option(help="Workload name or file, instead of the recipe's.", autocompletion=completion.workloads),
]
Device = Annotated[
    str, typer.Option(help="auto, cpu, cuda, cuda:N, or several: cuda:0,cuda:1.", autocompletion=completion.devices)
]
Artifacts = Annotated[Path, typer.Option(help="Folder of compressed models.")]


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
    device: Device = "auto",
    out: Out = Path("results"),
    artifacts: Artifacts = Path("artifacts"),
    keep: Annotated[bool, typer.Option(help="Keep the compressed models.")] = True,
    fresh: Annotated[bool, typer.Option(help="Run again what has a result already.")] = False,
    limit: Annotated[int | None, typer.Option(help="Take only so many test examples; every table says so.")] = None,
    fitting: Annotated[bool, typer.Option("--fitting", help="Leave out recipes that the device cannot run.")] = False,
) -> None:
    """Run recipes in one session with shared references, and leave a result each."""
    from compress.harness import run_all
    from compress.pareto import group
    from compress.plan import Options

    loaded = _loaded(recipes, set_)
    options = Options(workload, device, out, artifacts, fresh, limit, keep, fitting)
    finished = run_all(loaded, options)
    _print_tables(group(finished))
    failures = [result for result in finished if result.error is not None]
    if failures:
        raise typer.Exit(1)


@app.command()
def pareto(
    folder: Annotated[Path, typer.Argument(help="Folder of results.", metavar="[DIR]")] = Path("results"),
    out: Annotated[Path | None, typer.Option(help="Where pareto.md, .csv, .png, .svg and .html go; else DIR.")] = None,
    within: Annotated[
        str | None, typer.Option(help="Name the cheapest recipe that loses at most so much: 1pt, or 2% for perplexity.")
    ] = None,
    grade: Annotated[str, typer.Option(help="Lowest grade of measured energy on the front: A, B or C.")] = "B",
    grid: Annotated[
        str | None, typer.Option(help="Add gCO2e per 1000 inferences: a country of the table, or g/kWh.")
    ] = None,
    pue: Annotated[float | None, typer.Option(help="With --grid: power of the building over the computers'.")] = None,
    intensity: Annotated[str | None, typer.Option(help="With --grid: average or marginal.")] = None,
    embodied: Annotated[
        str | None, typer.Option(help="With --grid: kg CO2e of making the device, LOW..HIGH.", metavar="LOW..HIGH")
    ] = None,
    lifetime: Annotated[float | None, typer.Option(help="With --embodied: years that the device serves.")] = None,
) -> None:
    """Make the table, the front and the picture from result files only."""
    from compress.report import Painter

    with Painter() as painter:  # its process loads what it draws with while this one loads and reads the rest
        from compress import carbon, odds, report
        from compress.pareto import group
        from compress.result_files import read_all

        least = _grade(grade)
        asked = None if within is None else odds.loss(within)
        if grid is None and (pue, intensity, embodied, lifetime) != (None, None, None, None):
            raise InputError("--pue, --intensity, --embodied and --lifetime say what --grid needs; --grid is not given")
        said = None if grid is None else carbon.terms(grid, pue, intensity, embodied, lifetime)
        found, problems = read_all(folder)
        if not found:
            raise InputError(
                [*problems, f"{folder}: no results in it; run a recipe first: python -m compress run bert_int8"]
            )
        tables = group(found, least)
        painter.start(report.panels(tables))
        _print_tables(tables, problems)
        binder = report.Binder(lambda: report.page_html(tables, folder, said))
        lines = [] if asked is None else [line for table in tables for line in odds.answers(table, *asked, str(within))]
        if said is not None:
            lines += [line for table in tables for line in report.carbon_lines(table, said)]
        for line in lines:
            print(line)
        try:
            for path in report.write_tables(tables, out or folder, problems, lines, painter.pictures, binder.page):
                print(path, file=sys.stderr)
        except OSError as error:
            raise InputError(
                f"{out or folder}: cannot be written ({error.strerror}); choose another with --out"
            ) from None


def _grade(text: str) -> Any:
    if text not in ("A", "B", "C"):
        raise InputError(f"--grade {text}: expected A, B or C; energy of grade D or E is not ranked")
    return text


@app.command()
def compare(
    recipes: Annotated[
        list[str], typer.Argument(help="Two recipes, files or names.", metavar="A B", autocompletion=completion.recipes)
    ],
    workload: Workload = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change a field of both: measure.rounds=10", metavar="PATH=VALUE")
    ] = None,
    device: Device = "auto",
    out: Out = Path("results"),
    artifacts: Artifacts = Path("artifacts"),
    limit: Annotated[int | None, typer.Option(help="Take only so many test examples.")] = None,
) -> None:
    """Compare two recipes, paired round by round in one session."""
    from compress.compare import RecipeFailed
    from compress.compare import compare as compared
    from compress.plan import Options

    loaded = _loaded(recipes, set_)
    options = Options(workload=workload, device=device, out=out, artifacts=artifacts, limit=limit)
    try:
        print("\n".join(compared(loaded, options).lines()))
    except RecipeFailed as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="Folder of results.", metavar="[DIR]")] = Path("results"),
    baseline: Annotated[Path | None, typer.Option(help="Folder of the results to compare with.")] = None,
    max_energy: Annotated[str | None, typer.Option(help="Energy may grow so much: +3%.")] = None,
    max_latency: Annotated[str | None, typer.Option(help="Latency may grow so much: +5%.")] = None,
    max_loss: Annotated[str | None, typer.Option(help="So much may be lost: 0.5pt, or 2% for perplexity.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write the checks as a JUnit file too.")] = None,
) -> None:
    """Compare results with a baseline's: exit code 1 when one is worse beyond what noise explains."""
    from rich.console import Console

    from compress import gate, odds, report
    from compress.result_files import read_sound

    if baseline is None:
        raise InputError("check: --baseline is not given; expected the folder of earlier results")
    limits = gate.Limits(
        None if max_energy is None else gate.growth(max_energy, "--max-energy"),
        None if max_latency is None else gate.growth(max_latency, "--max-latency"),
        None if max_loss is None else odds.loss(max_loss, "--max-loss"),
    )
    if not limits.count:
        raise InputError("check: no limit is given; expected --max-energy, --max-latency or --max-loss")
    now, before = (read_sound(place) for place in (folder, baseline))
    checks = gate.check(now, before, limits)
    report.print_checks(checks, Console(highlight=False))
    if junit is not None:
        try:
            junit.write_text(report.junit(checks), encoding="utf-8")
        except OSError as error:
            raise InputError(f"--junit {junit}: cannot be written ({error.strerror})") from None
    if any(each.failed for each in checks):
        raise typer.Exit(1)


@app.command()
def sensitivity(
    recipe: Annotated[
        str, typer.Argument(help="A recipe file, or the name of a shipped one.", autocompletion=completion.recipes)
    ],
    workload: Workload = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change a field: steps.0.bits=4", metavar="PATH=VALUE")
    ] = None,
    device: Device = "auto",
    examples: Annotated[int, typer.Option(help="Training examples behind each loss.", min=2)] = 256,
    step: Annotated[int | None, typer.Option(help="Which step, from 0; unset: the last of layers.")] = None,
) -> None:
    """Say how much loss a step causes in each layer alone: what to exclude, or to override."""
    from compress.sensitivity import sensitivity as report

    (loaded,) = _loaded([recipe], set_)
    print("\n".join(report(loaded, workload, device, examples, step).lines()))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def measure(
    context: typer.Context,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, cuda:N or several: whose meter.", autocompletion=completion.devices)
    ] = "auto",
) -> None:
    """Run any command and say what it used: measure -- COMMAND ..."""
    from compress.energy.block import command_meter, run

    if not context.args:
        raise InputError("measure: no command; say it after two dashes: python -m compress measure -- python script.py")
    try:
        code, spent = run(context.args, command_meter(device))
    except OSError as error:
        raise InputError(f"measure: {context.args[0]} cannot be started ({error.strerror})") from None
    print(f"{' '.join(context.args)}: {spent}", file=sys.stderr)
    raise typer.Exit(code)


@app.command()
def doctor(
    device: Device = "auto",
    quick: Annotated[bool, typer.Option("--quick", help="A third of the time.")] = False,
) -> None:
    """Examine the meter of this machine, and say what to do about what is found."""
    from compress.checkup import checkup

    print("\n".join(checkup(device, quick)))


@app.command()
def show(result: Annotated[Path, typer.Argument(help="A result file.")]) -> None:
    """Read one result in full."""
    from rich.console import Console

    from compress import report
    from compress.result_files import read

    report.print_result(read(result), Console(highlight=False))


@app.command()
def plot(
    results: Annotated[list[Path], typer.Argument(help="Result files.", metavar="RESULT...")],
    kind: Annotated[
        str, typer.Option(help="break-even, points, layers, trace or rounds.", autocompletion=completion.kinds)
    ],
    out: Annotated[Path, typer.Option(help="The picture: a .png or an .svg.")],
) -> None:
    """Draw results: what pays back when, every operating point, every layer, the power trace, or round by round."""
    from compress import report

    print(report.write_chart(results, kind, out))


@app.command()
def card(
    result: Annotated[Path, typer.Argument(help="A result file.")],
    artifact: Annotated[Path | None, typer.Option(help="Its artifact's folder; unset: where the result says.")] = None,
) -> None:
    """Write a Hugging Face model card into a result's artifact: what was done, what was measured, how to load it."""
    from compress import report
    from compress.result_files import read

    found = read(result)
    try:
        print(report.write_card(found, _artifact(result, found, artifact)))
    except OSError as error:
        raise InputError(f"the card cannot be written ({error.strerror}); choose another --artifact") from None


@app.command()
def push(
    result: Annotated[Path, typer.Argument(help="A result file.")],
    repo: Annotated[str, typer.Option(help="Where on the hub: user/name.")],
    private: Annotated[bool, typer.Option("--private", help="Only you, or your organization, can see it.")] = False,
    artifact: Annotated[Path | None, typer.Option(help="Its artifact's folder; unset: where the result says.")] = None,
) -> None:
    """Upload a result's artifact with its card to the Hugging Face hub."""
    from compress import report
    from compress.result_files import read

    found = read(result)
    print(report.push(found, _artifact(result, found, artifact), repo, private))


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


@app.command()
def merge(
    folders: Annotated[list[Path], typer.Argument(help="Folders of results.", metavar="DIR...")],
    out: Out = Path("results"),
) -> None:
    """Join results of several machines in one folder, and show the machines side by side."""
    from rich.console import Console

    from compress import report
    from compress.merge import merge as joined
    from compress.merge import side_by_side

    merged = joined(folders, out)
    report.print_sides(side_by_side(merged.results), Console(highlight=False))
    for left in merged.superseded:
        print(f"left out, there is a newer one: {left}", file=sys.stderr)
    for name in merged.untraced:
        print(f"{name}: its raw samples are not there, so verify cannot check it", file=sys.stderr)
    print(f"{len(merged.results)} results in {out}", file=sys.stderr)


@app.command()
def verify(results: Annotated[list[Path], typer.Argument(help="Result files.", metavar="RESULT...")]) -> None:
    """Compute every figure of results again from their raw samples, and report any that differ."""
    from compress.verify import verify as check

    found = [check(path) for path in results]
    for each in found:
        print(f"{each.path}: {each.figures} figures, {len(each.differences)} differ from the trace")
        for line in each.differences:
            print(f"  {line}")
    if any(each.differences for each in found):
        raise typer.Exit(1)


@app.command()
def external(
    results: Annotated[list[Path], typer.Argument(help="Results measured meanwhile.", metavar="RESULT...")],
    readings: Annotated[Path, typer.Option(help="CSV with columns time and watts.")],
    boundary: Annotated[str, typer.Option(help="What hangs on the meter: the whole server, one GPU's riser ...")],
    calibration: Annotated[str | None, typer.Option(help="By whom and when: grade A needs it.")] = None,
    error: Annotated[float | None, typer.Option(help="The meter's error by that calibration, in percent.")] = None,
) -> None:
    """Give results the energy that a meter outside of the machine has recorded."""
    from compress.external import attach
    from compress.pareto import group

    if error is not None and not 0 <= error < 100:
        raise InputError(f"--error {error:g}: expected percent, from 0 up to 100")
    relative = None if error is None else error / 100
    _print_tables(group(attach(path, readings, boundary, calibration, relative) for path in results))


@app.command()
def methods() -> None:
    """List the methods with every field, type, default and sentence."""
    from rich.console import Console

    from compress import report
    from compress.steps import STEPS

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
    model: Annotated[str | None, typer.Option(help="Hub id or folder of a saved transformers model.")] = None,
    data: Annotated[str | None, typer.Option(help="Hub id, folder or file of the data.")] = None,
    task: Annotated[
        str | None,
        typer.Option(help="text-classification, image-classification or causal-lm.", autocompletion=completion.tasks),
    ] = None,
) -> None:
    """Print a workload file for your own model and data; in a terminal it asks for what is not given."""
    from compress.questions import init as asked

    asked(model, data, task)


def _loaded(names: Sequence[str], assignments: Sequence[str] | None) -> list[Any]:
    """The recipes of these names or files with `--set` applied. Raises InputError with all that is wrong in them."""
    from compress.config import parse_assignment
    from compress.recipe import Recipe

    overrides = gathered(partial(parse_assignment, text) for text in assignments or ())
    return gathered(partial(Recipe.load, name, overrides) for name in names)


def _print_tables(tables: Any, problems: Sequence[str] = ()) -> None:
    from rich.console import Console

    from compress import report

    report.print_tables(tables, Console(highlight=False), problems)


def main() -> None:
    """Runs the command line; bad input is one message on standard error and exit code 2."""
    quiet_libraries()
    try:
        app()
    except InputError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        sys.exit(2)
    except NotWritten as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        sys.exit(1)
    except SystemExit as ended:
        if ended.code == 130:  # what typer makes of Ctrl-C
            print("interrupted; finished results and artifacts are whole, run the same command to go on",
                  file=sys.stderr)  # fmt: skip
        raise
