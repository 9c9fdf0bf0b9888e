"""Every command and example of the README, in its order, on small models."""

import contextlib
import glob
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from compress import cli, recipe
from compress.recipe import Settings
from tests.helpers import ROOT, sentences, tokenizer, trained_bert, write_workload

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = [(m.group(1), m.group(2)) for m in BLOCK.finditer((ROOT / "README.md").read_text())]
TINY = Settings(profile="quick", rounds=2, window_s=0.05, preroll_s=0, warmup_s=1, points="headline")


def run_shell(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One `python -m compress ...` line, in this process, its output redirected where the line says so."""
    words = shlex.split(line, comments=True)
    target = words[words.index(">") + 1] if ">" in words else None
    arguments = words[3 : words.index(">")] if ">" in words else words[3:]
    expanded = [path for word in arguments for path in (sorted(glob.glob(word)) or [word])]  # noqa: PTH207
    monkeypatch.setattr(sys, "argv", ["compress", *expanded])
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        try:
            cli.main()
        except SystemExit as ended:
            assert not ended.code, f"{line}: exit code {ended.code}"
            raise
    if target is not None:
        Path(target).write_text(out.getvalue())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with my-model and my-data, short measuring, and a small stand-in for the default workload."""
    import datasets

    from compress import workloads

    trained_bert().save_pretrained(tmp_path / "my-model")
    tokenizer().save_pretrained(tmp_path / "my-model")
    (tmp_path / "my-data").mkdir()
    for split, count, seed in (("train", 64, 1), ("test", 60, 2)):
        datasets.Dataset.from_dict(sentences(count, seed)).to_parquet(tmp_path / "my-data" / f"{split}.parquet")
    stand_in = write_workload(tmp_path / "stand-in", name="stdlib-bert")
    found = workloads.find
    monkeypatch.setattr(workloads, "find", lambda name: stand_in if name == "stdlib-bert" else found(name))
    monkeypatch.setattr(recipe, "PROFILES", dict.fromkeys(recipe.PROFILES, TINY))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_readme_has_examples_of_every_kind() -> None:
    kinds = [kind for kind, _ in BLOCKS]
    assert kinds.count("bash") >= 6
    assert kinds.count("yaml") >= 2
    assert kinds.count("python") >= 3


@pytest.mark.usefixtures("forked_sessions")
def test_every_command_and_example_of_the_readme_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[str, Any] = {}
    for kind, text in BLOCKS:
        if kind == "yaml":
            name = text.split(":", 1)[0].removeprefix("#").strip()
            (folder / name).write_text(text)
        elif kind == "python":
            exec(compile(text, "README.md", "exec"), names)
        elif kind == "bash":
            for line in text.strip().splitlines():
                if line.startswith("make "):
                    done = subprocess.run(["make", "-n", *line.split()[1:]], cwd=ROOT, capture_output=True, check=False)
                    assert done.returncode == 0, line
                else:
                    assert line.startswith("python -m compress "), line
                    run_shell(line, monkeypatch)
