"""Commands that read results: tables and charts, a gate against a baseline, single results, several machines."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from compress.base.errors import InputError, attempted, gathered
from compress.base.terminal import console, print
from compress.cli import completion
from compress.cli.options import RESULTS, Margin, Out, app, print_tables, print_unread


@app.command()
def pareto(
    folder: Annotated[Path, typer.Argument(help="Folder of results.", metavar="[DIR]")] = Path("results"),
    out: Annotated[
        Path | None, typer.Option(help="Folder for pareto.md, .csv, .png, .svg and .html; default: DIR.")
    ] = None,
    within: Annotated[
        str | None,
        typer.Option(
            help="Name the cheapest recipe that loses at most 1pt (points: hundredths of accuracy, f1 ...), or 2% (of "
            "perplexity, or of a metric without a scale)."
        ),
    ] = None,
    margin: Margin = None,
    grade: Annotated[str, typer.Option(help="Lowest grade of measured energy on the front: A, B or C.")] = "B",
    grid: Annotated[
        str | None, typer.Option(help="Add gCO2e per 1000 inferences: a country of the table, or g/kWh.")
    ] = None,
    pue: Annotated[
        float | None, typer.Option(help="With --grid: power usage effectiveness (building / computers).")
    ] = None,
    intensity: Annotated[str | None, typer.Option(help="With --grid: average or marginal intensity.")] = None,
    embodied: Annotated[
        str | None, typer.Option(help="With --grid: kg CO2e of making the device, LOW..HIGH.", metavar="LOW..HIGH")
    ] = None,
    lifetime: Annotated[
        float | None, typer.Option(help="With --embodied: service life of the device in years.")
    ] = None,
    latex: Annotated[
        bool, typer.Option("--latex", help="Write pareto.tex too: tables and methods for a paper, with booktabs.")
    ] = False,
) -> None:
    """Write the table, the Pareto front and the chart from result files."""
    from compress.report import Writer

    with Writer() as writer:  # its process imports the plotting libraries while this one reads the results
        from compress import report
        from compress.analysis import carbon, loss, odds
        from compress.analysis.pareto import group
        from compress.analysis.reading import read_all

        least = _grade(grade)
        limit = None if within is None else loss.parse_limit(within, "--within")
        if grid is None and (pue, intensity, embodied, lifetime) != (None, None, None, None):
            raise InputError("--pue, --intensity, --embodied and --lifetime need --grid; give --grid, or remove them")
        carbon_terms = None if grid is None else carbon.terms(grid, pue, intensity, embodied, lifetime)
        results, problems = read_all(folder)
        if not results:
            raise InputError(
                [*problems, f"{folder}: no results in it; run a recipe first: python -m compress run bert_int8"]
            )
        tables = group(results, least, margin)
        writer.draw(tables)
        print_unread(problems)
        print_tables(tables, folder if limit is None else None)
        writer.bind(folder, carbon_terms)
        lines = [] if limit is None else [line for table in tables for line in odds.answers(table, *limit, str(within))]
        if carbon_terms is not None:
            lines += [line for table in tables for line in report.carbon_lines(table, carbon_terms)]
        for line in lines:
            print(line)
        try:
            written = writer.write(out or folder, problems, lines, latex)
        except OSError as error:
            raise InputError(
                f"{out or folder}: cannot be written ({error.strerror}); choose another folder with --out"
            ) from None
        for path in written:
            print(path, file=sys.stderr)


def _grade(grade: str) -> Any:
    if grade not in ("A", "B", "C"):
        raise InputError(f"--grade {grade}: expected A, B or C; energy of grade D or E is not ranked")
    return grade


@app.command()
def check(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder of results, a result file, or the name of a recipe with a result in ./results.",
            metavar="[DIR]",
        ),
    ] = Path("results"),
    baseline: Annotated[Path | None, typer.Option(help="Folder of the results to compare with.")] = None,
    max_energy: Annotated[str | None, typer.Option(help="Maximum increase in energy: +3%.")] = None,
    max_latency: Annotated[str | None, typer.Option(help="Maximum increase in latency: +5%.")] = None,
    max_cost: Annotated[
        str | None, typer.Option(help="Maximum increase in energy where it is metered on both sides, else in latency.")
    ] = None,
    max_loss: Annotated[
        str | None,
        typer.Option(
            help="Maximum loss: 0.5pt (points: hundredths of accuracy, f1 ...), or 2% (of perplexity, or of a "
            "metric without a scale)."
        ),
    ] = None,
    allow_undecided: Annotated[
        bool, typer.Option("--allow-undecided", help="Pass checks whose interval holds the limit.")
    ] = False,
    session_spread: Annotated[
        str | None,
        typer.Option(
            help="Assumed spread between sessions where a side has only one: 2%. Default: that of each result."
        ),
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Also write the checks as a JUnit file.")] = None,
) -> None:
    """Compare results with a baseline's: exit code 1 unless each is shown to stay within the limits."""
    from compress import report
    from compress.analysis import gate, loss
    from compress.analysis.reading import read, read_known
    from compress.base.files import SPELLED, write_atomic
    from compress.base.places import new_file
    from compress.base.reading import exists, is_folder
    from compress.records.by_name import found
    from compress.records.files import named

    if baseline is None:
        raise InputError("check: --baseline is not given; expected the folder of earlier results")
    limits = gate.Limits(
        None if max_energy is None else gate.growth(max_energy, "--max-energy"),
        None if max_latency is None else gate.growth(max_latency, "--max-latency"),
        None if max_cost is None else gate.growth(max_cost, "--max-cost"),
        None if max_loss is None else loss.parse_limit(max_loss, "--max-loss"),
        None if session_spread is None else gate.spread(session_spread, "--session-spread"),
    )
    if not limits.count:
        raise InputError("check: no limit is given; expected --max-energy, --max-latency, --max-cost or --max-loss")
    if junit is not None:
        new_file(junit, "--junit", [".xml"], named([folder, baseline]))
        if not junit.parent.is_dir():
            raise InputError(f"--junit {junit}: cannot be written, its folder does not exist; create it first")
    if not is_folder(baseline):
        what = "no such folder" if not exists(baseline) else "is a file"
        raise InputError(f"--baseline {baseline}: {what}; expected a folder of results that were measured earlier")
    one = read(path) if (path := found(folder)).is_file() else None
    now, unread, damaged = read_known(folder) if one is None else ([one], [], [])
    before, unread_then, damaged_then = read_known(baseline)
    if one is not None:
        before = [result for result in before if result.name == one.name]
    print_unread([*unread, *unread_then])
    for place, results, problems in ((folder, now, damaged), (f"--baseline {baseline}", before, damaged_then)):
        if not results:
            of = f" of {one.name}" if one is not None and results is before else ""
            raise InputError([*problems, f"{place}: no results{of} in it; expected results of `compress run`"])
    checks = [*gate.check(now, before, limits), *map(gate.unread, (*damaged, *damaged_then))]
    report.print_checks(checks, console(), allow_undecided)
    if junit is not None:
        try:
            write_atomic(junit, report.junit(checks, allow_undecided).encode(errors=SPELLED))
        except OSError as error:
            raise InputError(f"--junit {junit}: cannot be written ({error.strerror})") from None
    if any(outcome.shuts(allow_undecided) for outcome in checks):
        raise typer.Exit(1)


@app.command()
def show(
    results: Annotated[list[Path], typer.Argument(help=RESULTS, metavar="RESULT...")],
    margin: Margin = None,
) -> None:
    """Print results in full."""
    from compress import report
    from compress.analysis.among import all_among, with_place
    from compress.base.reading import is_folder
    from compress.records.by_name import found
    from compress.records.files import named

    results = gathered(partial(found, path) for path in results)
    read_results, problems = attempted(partial(with_place, path) for path in named(results))
    for place, judged in enumerate(all_among(read_results, margin, filter(is_folder, results))):
        print("", end="\n" if place else "")
        report.print_result(judged.result, console(), judged.recipes)
    if any(is_folder(path) for path in results) and read_results:
        print_unread(problems)
    elif problems or not read_results:
        raise InputError(problems or f"{results[0]}: no results in it; expected results of `compress run`")


@app.command()
def plot(
    results: Annotated[list[Path], typer.Argument(help=RESULTS, metavar="RESULT...")],
    kind: Annotated[
        str, typer.Option(help="break-even, points, map, layers, trace or rounds.", autocompletion=completion.kinds)
    ],
    out: Annotated[Path, typer.Option(help="File to write: .png or .svg.")],
) -> None:
    """Plot results: break-even, all operating points, a map, all layers, the power trace, or round by round."""
    from compress import report
    from compress.records.by_name import found

    print(report.write_chart(gathered(partial(found, path) for path in results), kind, out))


@app.command()
def merge(
    folders: Annotated[list[Path], typer.Argument(help="Folders of results.", metavar="DIR...")],
    out: Out = Path("results"),
) -> None:
    """Join results of several machines in one folder, and show the machines side by side."""
    from compress import report
    from compress.analysis.merge import machine_comparisons
    from compress.analysis.merge import merge as merge_folders
    from compress.analysis.older import rejudged

    merged = merge_folders(folders, out)
    print_unread(merged.unread)
    report.print_machines(machine_comparisons(rejudged(merged.results)), console())
    for older in merged.superseded:
        print(f"skipped, a newer result exists: {older}", file=sys.stderr)
    for name in merged.untraced:
        print(f"{name}: raw samples are missing, so verify cannot check it", file=sys.stderr)
    print(f"{len(merged.results)} results in {out}", file=sys.stderr)
