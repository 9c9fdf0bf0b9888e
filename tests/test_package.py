"""The package as others get it: public names, the wheel, the commands that must stay light."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import compress
import recipes
from compress.report.page import SCRIPTS, STYLES
from tests.helpers import QUICK, ROOT, environment, read_result


def test_every_public_name_is_there() -> None:
    for name in compress.__all__:
        assert getattr(compress, name) is not None
    assert set(compress.__all__) <= set(dir(compress))
    with pytest.raises(AttributeError, match="no_such_name"):
        compress.no_such_name  # noqa: B018


def test_recipes_are_listed_and_an_unknown_one_says_which_exist() -> None:
    assert {"bert_dense", "bert_int8", "vit_prune", "llama_int4"} <= set(dir(recipes))
    with pytest.raises(AttributeError, match="bert_int8"):
        recipes.no_such_recipe  # noqa: B018


READING = [["--help"], ["recipes"], ["methods"], ["workloads"], ["run", "--help"]]


@pytest.mark.parametrize("arguments", READING, ids=[" ".join(a) for a in READING])
def test_reading_commands_never_import_torch(arguments: list[str]) -> None:
    program = (
        "import sys; sys.argv = ['compress', *sys.argv[1:]]\n"
        "from compress.cli import app\n"
        "try: app()\nexcept SystemExit as end: assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_methods_lists_every_field_with_its_type_default_and_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "compress", "methods"], capture_output=True, text=True, check=True, env=environment()
    )
    for words in (
        "cast:",
        "prune:",
        "quantize:",
        "lowrank:",
        "distill:",
        "fraction",
        "0.25",
        "temperature",
        "one of fp16",
    ):
        assert words in done.stdout
    for machinery in ("Optional", "FieldInfo", "Literal", "tuple["):
        assert machinery not in done.stdout


def test_the_wheel_works_outside_the_checkout_and_brings_the_recipes(workload: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if files.returncode != 0:
        pytest.skip("not a git checkout")
    for name in filter(None, files.stdout.split("\0")):  # a copy: building leaves folders behind
        if (ROOT / name).is_file() and not name.startswith("results/"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    wheel = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(tmp_path)]
    built = subprocess.run([*wheel, str(source)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (file,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    assert {"compress/py.typed", "recipes/bert_int8.yaml", "recipes/workloads/stdlib-bert.yaml"} <= names
    assert {f"compress/report/page/{file}" for file in ("page.html", *STYLES, *SCRIPTS)} <= names
    here = {
        path.relative_to(ROOT).as_posix()
        for folder in ("compress", "recipes")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert here <= names
    done = subprocess.run(
        [sys.executable, "-m", "compress", "workloads"], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**environment(), "PYTHONPATH": str(tmp_path / "site")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "stdlib-bert" in done.stdout
    done = subprocess.run(
        [sys.executable, "-m", "compress", "run", "bert_bf16", "--workload", str(workload), *QUICK], cwd=tmp_path,
        capture_output=True, text=True, check=False, env={**environment(), "PYTHONPATH": str(tmp_path / "site")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert read_result(tmp_path, "bert_bf16").error is None
