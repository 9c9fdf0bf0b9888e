"""The package as others get it: public names, the wheel, its citation, the commands that must stay light."""

import os
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from ruamel.yaml import YAML

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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the files that git tracks, built from a copy: building leaves folders behind."""
    folder = tmp_path_factory.mktemp("wheel")
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if files.returncode != 0:
        pytest.skip("not a git checkout")
    for name in filter(None, files.stdout.split("\0")):
        if (ROOT / name).is_file() and not name.startswith("results/"):
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "source" / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(folder)]
    built = subprocess.run([*pip, str(folder / "source")], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (file,) = folder.glob("*.whl")
    return file


def test_the_wheel_holds_every_file_of_the_package_and_the_recipes_and_no_other(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    source = wheel.parent / "source"
    tracked = {
        path.relative_to(source).as_posix()
        for folder in ("compress", "recipes")
        for path in (source / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert held == tracked
    assert {"compress/py.typed", "recipes/bert_int8.yaml", "recipes/workloads/stdlib-bert.yaml"} <= held
    assert {f"compress/report/page/{name}" for name in ("page.html", *STYLES, *SCRIPTS)} <= held


def test_the_wheels_metadata_is_that_of_the_project(wheel: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    with zipfile.ZipFile(wheel) as archive:
        (place,) = {name.partition("/")[0] for name in archive.namelist() if ".dist-info/" in name}
        metadata = Parser().parsestr(archive.read(f"{place}/METADATA").decode())
        commands = archive.read(f"{place}/entry_points.txt").decode()
        assert f"{place}/licenses/LICENSE" in archive.namelist()
    assert (metadata["Name"], metadata["Version"]) == ("compress", compress.__version__)
    assert set(metadata.get_all("Provides-Extra")) == set(project["optional-dependencies"])
    required = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    assert len(required) == len(project["dependencies"])
    assert "compress = compress.__main__:main" in commands


def test_the_wheel_works_outside_the_checkout_and_brings_the_recipes(
    wheel: Path, workload: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
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


def installed(wheel: Path, folder: Path) -> Path:
    """Install the wheel with pip into a new environment, add this environment's other packages, return its bin folder.

    The path file is added afterwards, so that pip finds no installed version. Path files of a folder that a path file
    names are not read: an editable installation of the checkout is not seen.
    """
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    place = folder / "bin"
    pip = [
        str(place / "python"),
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        "--no-index",
        "--no-deps",
    ]
    done = subprocess.run([*pip, str(wheel)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "others.pth").write_text("\n".join(sysconfig.get_path(name) for name in ("purelib", "platlib")) + "\n")
    return place


@pytest.mark.long
def test_an_installed_wheel_works_in_an_empty_environment(wheel: Path, workload: Path, tmp_path: Path) -> None:
    """As a user: pip install, then commands by either name, from an empty folder, until the page is written."""
    place = installed(wheel, tmp_path / "venv")
    work = tmp_path / "work"
    work.mkdir()
    own = {**os.environ, "HF_HUB_OFFLINE": "1"}
    own.pop("PYTHONPATH", None)

    def call(*command: str) -> str:
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False, env=own)
        assert done.returncode == 0, done.stderr
        return done.stdout

    python, script = str(place / "python"), str(place / "compress")
    for module in ("compress", "recipes"):
        found = call(python, "-c", f"import {module}; print({module}.__file__)")
        assert Path(found.strip()).is_relative_to(tmp_path / "venv"), found
    assert (
        call(script, "--version").strip() == call(python, "-m", "compress", "--version").strip() == compress.__version__
    )
    assert "bert_int8" in call(python, "-m", "compress", "recipes") and "stdlib-bert" in call(script, "workloads")
    assert "--workload" in call(python, "-m", "compress", "run", "--help")
    assert call(python, "-c", "from recipes import bert_int8; print(bert_int8.name)") == "bert_int8\n"
    call(script, "run", "bert_bf16", "--workload", str(workload), *QUICK)
    assert read_result(work, "bert_bf16").error is None
    call(script, "pareto", "results", "--latex")
    page = (work / "results" / "pareto.html").read_text(encoding="utf-8")
    for name in ("page.css", *SCRIPTS):
        assert (ROOT / "compress" / "report" / "page" / name).read_text(encoding="utf-8").strip()[:200] in page
    assert r"\toprule" in (work / "results" / "pareto.tex").read_text(encoding="utf-8")


CFF = {
    "cff-version", "message", "title", "authors", "type", "abstract", "version", "license", "keywords", "url",
    "repository-code", "date-released", "doi", "commit", "contact", "identifiers", "license-url", "preferred-citation",
    "references", "repository", "repository-artifact",
}  # fmt: skip
"""Fields of the Citation File Format 1.2.0; the first four are required."""


def test_the_citation_file_names_the_contributors_and_the_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    cited = YAML(typ="safe").load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= cited.keys() <= CFF
    assert (cited["cff-version"], cited["type"]) == ("1.2.0", "software")
    assert cited["authors"] == [{"name": "compress contributors"}]  # an entity
    assert (cited["title"], cited["license"]) == (project["name"], project["license"])
    assert cited["version"] == project["version"] == compress.__version__
    assert cited["abstract"] == project["description"]
    assert all(isinstance(word, str) for word in cited["keywords"]) and len(set(cited["keywords"])) == len(
        cited["keywords"]
    )
