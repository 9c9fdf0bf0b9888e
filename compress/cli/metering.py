"""Commands about energy: metering any command, examining the meter, verifying figures, external meters."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from compress.base.device import AUTO
from compress.base.errors import InputError, attempted, gathered
from compress.base.interrupts import insist
from compress.base.terminal import print
from compress.cli import completion
from compress.cli.options import RESULTS, DeviceOption, app, print_tables


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def measure(
    context: typer.Context,
    device: Annotated[
        str,
        typer.Option(help="Device to meter: auto, cpu, cuda, cuda:N or several.", autocompletion=completion.devices),
    ] = AUTO,
) -> None:
    """Run any command and report its time and energy: measure -- COMMAND ..."""
    from compress.energy.block import command_meter, run

    if not context.args:
        raise InputError(
            "measure: no command; write it after two dashes: python -m compress measure -- python script.py"
        )
    try:
        code, spent = run(context.args, command_meter(device))
    except OSError as error:
        raise InputError(f"measure: {context.args[0]} cannot be started ({error.strerror})") from None
    print(f"{' '.join(context.args)}: {spent}", file=sys.stderr)
    raise typer.Exit(code)


@app.command()
def doctor(
    device: DeviceOption = AUTO,
    quick: Annotated[bool, typer.Option("--quick", help="Examine in a third of the time.")] = False,
) -> None:
    """Examine the meter of this machine, and advise on problems found."""
    insist()
    from compress.energy.doctor.checkup import checkup

    print("\n".join(checkup(device, quick)))


@app.command()
def verify(
    results: Annotated[list[Path], typer.Argument(help=RESULTS, metavar="RESULT...")],
) -> None:
    """Compute accuracy, latency, energy and verdicts again from raw samples, and report any that differ."""
    from compress.analysis.verify import COPIED
    from compress.analysis.verify import verify as verify_result
    from compress.records.by_name import found
    from compress.records.files import named

    results = gathered(partial(found, path) for path in results)
    reports, problems = attempted(partial(verify_result, path) for path in named(results))
    for report in reports:
        print(
            f"{report.path}: {report.figures} figures, {len(report.differences)} differ from the trace; "
            f"a second implementation confirmed {report.confirmed}"
        )
        for line in report.differences:
            print(f"  {line}")
    for remark in dict.fromkeys(report.remark for report in reports if report.remark):
        print(remark)
    if reports:
        print(COPIED)
    if problems or not reports:
        raise InputError(problems or f"{results[0]}: no results in it; expected results of `compress run`")
    if any(report.differences for report in reports):
        raise typer.Exit(1)


@app.command()
def external(
    results: Annotated[list[Path], typer.Argument(help="Results measured during the readings.", metavar="RESULT...")],
    readings: Annotated[Path, typer.Option(help="CSV with columns time and watts.")],
    boundary: Annotated[str, typer.Option(help="What the meter measures: the whole server, one GPU's riser ...")],
    calibration: Annotated[
        str | None, typer.Option(help="Who calibrated the meter, and when; required for grade A.")
    ] = None,
    error: Annotated[float | None, typer.Option(help="The meter's error by its calibration, in percent.")] = None,
) -> None:
    """Add the energy recorded by an external meter to results. New readings replace those added before."""
    from compress.analysis.among import tables_of
    from compress.analysis.external import attach
    from compress.records.by_name import found

    if error is not None and not 0 <= error < 100:
        raise InputError(f"--error {error:g}: expected percent, from 0 up to 100")
    relative = None if error is None else error / 100
    results = gathered(partial(found, path) for path in results)

    def attached(path: Path) -> tuple[Path, Any]:
        return path, attach(path, readings, boundary, calibration, relative)

    updated, problems = attempted(partial(attached, path) for path in results)
    if updated:
        print_tables(tables_of(updated))
    if problems:
        raise InputError(problems)
