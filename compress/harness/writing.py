"""Results of a session, written to their files as soon as they are made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from compress.base.console import say
from compress.harness.assemble import failed
from compress.harness.plan import Options, Planned, measured_before
from compress.records import files as result_files
from compress.records.result import Machine, Result


@dataclass
class Measured:
    """Results of one session by their paths."""

    made: dict[Path, Result] = field(default_factory=dict)
    adopted: dict[Path, Result] = field(default_factory=dict)
    """Results that another process wrote while this one waited."""
    unwritten: list[str] = field(default_factory=list)
    """Problems that kept results from being written."""
    kept: Path | None = None
    """Folder of the sessions to remove once the results are written."""

    def write(self, results: Mapping[Path, Result]) -> None:
        """Write results and keep them."""
        self.made |= results
        for path, result in results.items():
            self.unwritten += write_result(path, result)


def write_result(path: Path, result: Result) -> list[str]:
    """Write a result; return the problem that prevented it, if any. The artifact stays and is reused.

    A failed result never replaces figures of the same fingerprint, which remain valid.
    """
    try:
        if result.error is not None and measured_before(path, result.fingerprint) is not None:
            say(f"  {path}: keeps the figures that the same run measured before; {result.name} failed this time")
            return []
        result_files.replace_file(path, result)
    except OSError as error:
        return [
            f"{path}: the result of {result.name} cannot be written ({error.strerror}); make room and run the same "
            "command again: artifacts that are kept are not made again"
        ]
    return []


def write_failure(planned: Planned, options: Options, machine: Machine, error: Exception) -> Result:
    """Write and return the result of a recipe that failed, with its error."""
    result = failed(planned.recipe, planned.source, planned.fingerprint, machine, options.limit, error)
    for problem in write_result(planned.path, result):
        say(f"  {problem}")
    say(f"  {planned.recipe.name} failed: {result.error}")
    return result
