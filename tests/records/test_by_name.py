"""Results named by their recipe."""

from collections.abc import Callable
from pathlib import Path

import pytest

from compress.base.config import InputError
from compress.records.by_name import found
from compress.records.files import write
from tests import factory

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, machine in (("bert_int8", "a"), ("bert_prune", "a"), ("bert_prune-fraction-0.4", "a"), ("twice", "a"),
                          ("twice", "b")):  # fmt: skip
        write(tmp_path, factory.result(name, machine=factory.machine(f"cpu-{machine * 8}")))
    return tmp_path


@pytest.mark.parametrize("name", ["bert_int8", "bert_prune", "bert_prune-fraction-0.4"])
def test_a_recipes_name_leads_to_its_only_result(folder: Path, name: str) -> None:
    assert found(Path(name), folder) == folder / "stdlib-bert" / f"{name}-cpu-aaaaaaaa.json"


def test_limited_results_have_the_recipes_name_too(tmp_path: Path) -> None:
    path = write(tmp_path, factory.result("bert_int8", limit=100, machine=factory.machine("cuda-01234567")))
    assert found(Path("bert_int8"), tmp_path) == path


def test_the_result_of_all_examples_is_preferred_to_limited_ones(folder: Path) -> None:
    whole = folder / "stdlib-bert" / "bert_int8-cpu-aaaaaaaa.json"
    for limit in (100, 500):
        (folder / "stdlib-bert" / f"bert_int8-cpu-aaaaaaaa-limit{limit}.json").write_text("{}")
    assert found(Path("bert_int8"), folder) == whole
    whole.unlink()
    with pytest.raises(InputError, match="2 results have this name"):
        found(Path("bert_int8"), folder)


def test_paths_are_returned_as_they_are(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "bert_prune").mkdir()
    write(tmp_path / "bert_prune", factory.result("other"))
    for path in (Path("mine"), Path("bert_prune"), Path("results/gone"), Path("gone.json")):
        assert found(path, folder) == path
    assert found(Path("bert_int8"), tmp_path / "gone") == Path("bert_int8")


def test_a_folder_without_results_does_not_hide_those_of_its_name(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "elsewhere"
    (place / "bert_int8").mkdir(parents=True)
    monkeypatch.chdir(place)
    assert found(Path("bert_int8"), folder) == folder / "stdlib-bert" / "bert_int8-cpu-aaaaaaaa.json"


def test_names_of_several_results_or_of_none_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"twice: 2 results have this name; .*cpu-aaaaaaaa.json, .*cpu-bbbbbbbb.json"):
        found(Path("twice"), folder)
    with pytest.raises(InputError, match=r"bert_int: no such file, and no result .*; did you mean bert_int8\?"):
        found(Path("bert_int"), folder)


def test_a_run_is_advised_for_recipes_that_exist_and_never_for_a_slip(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name, end in (
        ("bert_in8", "; did you mean bert_int8?"),
        ("nosuch", "; expected one of bert_int8, bert_prune, bert_prune-fraction-0.4, twice"),
        ("x" * 300, "; expected one of bert_int8, bert_prune, bert_prune-fraction-0.4, twice"),
        ("bert_int4", "; first run it: python -m compress run bert_int4"),
    ):
        with pytest.raises(InputError) as raised:
            found(Path(name), folder)
        assert str(raised.value) == f"{name}: no such file, and no result of this recipe in {folder}{end}"
    Path("nosuch.yaml").write_text("steps: []\n")
    with pytest.raises(InputError, match=r"first run it: python -m compress run nosuch.yaml$"):
        found(Path("nosuch"), folder)


def test_check_takes_a_recipe_and_leaves_the_others_of_the_baseline_out(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for place in ("results", "before"):
        for name in ("bert_int8", "bert_prune"):
            write(Path(place), factory.result(name, machine=factory.machine("cpu-aaaaaaaa")))
    limits = ("--max-loss", "5pt", "--allow-undecided")
    code, out, err = run("check", "bert_int8", "--baseline", "before", *limits)
    assert code == 0, err
    assert "bert_int8" in out and "bert_prune" not in out
    code, out, _ = run("check", "results", "--baseline", "before", *limits)
    assert "bert_int8" in out and "bert_prune" in out
    code, _, err = run("check", "bert_in8", "--baseline", "before", *limits)
    assert code == 2 and "did you mean bert_int8?" in err
