"""A new artifact takes the place of an old one, and of nothing that a user put there."""

import json
import os
import shutil
from pathlib import Path

import pytest

from compress.base import files
from compress.base.config import InputError
from compress.model import artifact
from compress.model.replacing import refuse_foreign
from tests import made_models
from tests.made_models import bundle


@pytest.fixture(scope="module")
def saved_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "a"
    artifact.save(bundle(made_models.bert()), folder, {"run": 1})
    return folder


@pytest.fixture
def place(saved_artifact: Path, tmp_path: Path) -> Path:
    shutil.copytree(saved_artifact, tmp_path / "a")
    return tmp_path / "a"


MANIFESTS = {
    "cut off": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "newer": lambda data: json.dumps({**json.loads(data), "schema": 99}).encode(),
    "changed": lambda data: data.replace(b'"eager"', b'"compile"').replace(b'"run"', b'"ran"'),
}


@pytest.mark.parametrize("kind", MANIFESTS)
def test_beside_a_damaged_manifest_only_files_of_artifacts_may_go(kind: str, place: Path) -> None:
    manifest = place / "manifest.json"
    manifest.write_bytes(MANIFESTS[kind](manifest.read_bytes()))
    refuse_foreign(place)  # its own files alone are made again
    (place / "notes.txt").write_text("mine")
    (place / "mine").mkdir()
    (place / "mine" / "config.json").write_text("{}")
    with pytest.raises(InputError) as refused:
        artifact.save(bundle(made_models.bert()), place)
    assert len(refused.value.problems) == 2 and "notes.txt: " in str(refused.value), refused.value
    assert "mine/config.json: " in str(refused.value) and "not overwritten" in str(refused.value)
    assert (place / "notes.txt").read_text() == "mine"


def test_a_manifest_of_something_else_is_none(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"manifest_version": 3, "name": "an extension"}')
    with pytest.raises(InputError, match=r"no artifact's manifest\.json; not overwritten"):
        refuse_foreign(tmp_path)


def _own(place: Path) -> dict[str, bytes]:
    """What a user puts beside an artifact."""
    (place / ".git" / "objects").mkdir(parents=True)
    made = {"README.md": b"my words", "LICENSE": b"MIT", ".git/HEAD": b"ref", ".git/objects/1": b"\0"}
    for name, data in made.items():
        (place / name).write_bytes(data)
    (place / ".git" / "objects" / "1").chmod(0o444)
    (place / ".git" / "link").symlink_to("HEAD")
    return made


@pytest.mark.parametrize("links", [True, False])
def test_a_card_a_license_and_a_git_folder_move_into_the_new_artifact(
    links: bool, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = _own(place)

    def refused(*_: object) -> None:
        raise OSError(1, "no hard links here")

    if not links:
        monkeypatch.setattr(os, "link", refused)
    artifact.save(bundle(made_models.bert()), place, {"run": 2})
    assert artifact.verify(place).extra == {"run": 2}
    assert {name: (place / name).read_bytes() for name in made} == made
    assert (place / ".git" / "link").readlink() == Path("HEAD")
    assert [path.name for path in place.parent.iterdir()] == ["a"]


def test_a_kill_while_an_artifact_is_replaced_loses_nothing_of_the_users(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = _own(place)

    def seen(work: Path, path: Path) -> None:
        for folder in (work, path):  # before the exchange both have them: after it, the new one
            assert {name: (folder / name).read_bytes() for name in made} == made
        files.put_in_place(work, path)
        assert {name: (path / name).read_bytes() for name in made} == made

    monkeypatch.setattr(artifact, "put_in_place", seen)
    artifact.save(bundle(made_models.bert()), place)
