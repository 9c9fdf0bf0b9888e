"""The command `export`: where it writes, and what it refuses."""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from compress.records import files
from tests import factory
from tests.export import made
from tests.helpers import compress


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with an artifact and its result."""
    source = made.save(tmp_path / "artifacts" / "llm" / "llama_int4", made.llama(), made.tokenizer(), **made.SYMMETRIC)
    digest = hashlib.sha256((source / "manifest.json").read_bytes()).hexdigest()
    workload = {"name": "llm", "task": "causal-lm", "model": "my-llm"}
    result = factory.result("llama_int4", workload=workload, artifact=str(source), artifact_sha256=digest)
    files.write(tmp_path / "results", result).rename(tmp_path / "result.json")
    return tmp_path


def test_the_command_writes_an_export_with_its_card(place: Path) -> None:
    done = compress("export", "result.json", "--to", "gptq", cwd=place)
    assert done.returncode == 0, done.stderr
    folder = place / "exports" / "llm" / "llama_int4" / "gptq"
    assert done.stdout.splitlines()[0] == str(folder.relative_to(place))
    assert "logits are equal" in done.stdout
    assert {"README.md", "config.json", "export.json", "model.safetensors", "tokenizer.json"} <= {
        file.name for file in folder.iterdir()
    }
    assert "export to gptq" in (folder / "README.md").read_text()


def test_the_command_refuses_formats_artifacts_and_layers_with_exit_code_2(place: Path) -> None:
    done = compress("export", "result.json", "--to", "ggfu", cwd=place)
    assert done.returncode == 2 and "--to ggfu: unknown format" in done.stderr
    done = compress("export", "result.json", "--to", "gptq", "--artifact", "nowhere", cwd=place)
    assert done.returncode == 2 and "nowhere: its manifest.json cannot be read" in done.stderr
    done = compress("export", "result.json", "--to", "gptq", "--out", "results", cwd=place)
    assert done.returncode == 2 and "results: holds files but no export.json" in done.stderr
    assert not (place / "exports").exists()


def test_the_folder_and_the_packages_are_checked_before_torch_is_imported(
    place: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[..., tuple[int, str, str]]
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setitem(sys.modules, "compress.export", None)  # importing it is an error
    (place / "file").touch()
    for out, words in (
        ("results", "results: holds files but no export.json"),
        ("file", "--out file: is not a folder"),
        ("file/below", "file/below: cannot be written (Not a directory); choose another with --out"),
        ("u" * 500, "is no path (File name too long); choose another with --out"),
    ):
        code, _, err = run("export", "result.json", "--to", "onnx", "--out", out)
        assert code == 2 and words in err
    monkeypatch.setattr("compress.records.exported.util.find_spec", lambda name: None)
    code, _, err = run("export", "result.json", "--to", "gguf")
    assert code == 2 and "--to gguf: gguf is not installed" in err
