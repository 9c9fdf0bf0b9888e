"""What `run` names after the table: result files, artifacts, and the command that writes the table as files."""

from dataclasses import replace
from pathlib import Path

from compress.cli.running import MOST_PATHS, places
from compress.records import files
from compress.records.result import Result
from tests import factory


def stored(out: Path, *names: str) -> list[Result]:
    """Results that are written below `out`."""
    made = [replace(factory.result(name), artifact=f"artifacts/{name}-12ab") for name in names]
    for result in made:
        files.write(out, result)
    return made


def test_a_few_results_and_artifacts_are_listed_each(tmp_path: Path) -> None:
    out = tmp_path / "my results"
    results = stored(out, "one", "two")
    paths = [out / files.own_path(result) for result in results]
    assert list(places(results, out)) == [
        f"result: {paths[0]}",
        f"result: {paths[1]}",
        "artifact: artifacts/one-12ab",
        "artifact: artifacts/two-12ab",
        f"table, chart and page as files: python -m compress pareto '{out}'",
    ]


def test_of_many_the_folders_are_listed(tmp_path: Path) -> None:
    results = stored(tmp_path, *(f"r{i}" for i in range(MOST_PATHS + 1)))
    folder = (tmp_path / files.own_path(results[0])).parent
    assert list(places(results, tmp_path))[:-1] == [f"results: {folder}", "artifacts: artifacts"]


def test_what_was_not_kept_or_not_written_is_not_listed(tmp_path: Path) -> None:
    results = [replace(result, artifact=None) for result in stored(tmp_path, "one")]
    lines = list(places([*results, factory.failed("unwritten")], tmp_path))
    assert [line.split(":")[0] for line in lines] == ["result", "table, chart and page as files"]
