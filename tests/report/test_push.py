"""Uploads go through the real client to a stand-in hub: the bytes that arrive are the files, and refusals are told."""

import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard, constants

from compress.base.config import InputError
from compress.records import files as result_files
from compress.records.result import Result
from compress.report import push, write_card
from tests import factory
from tests.damaged import Run
from tests.helpers import environment
from tests.hub_server import Hub, served

CONTENT = {"config.json": b'{"model_type": "bert"}', "compress.safetensors": bytes(range(256)) * 500}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with served(Hub()) as made:
        monkeypatch.setattr(constants, "ENDPOINT", made.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the stand-in uses git-lfs
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setenv("HF_TOKEN", made.token)
        yield made


@pytest.fixture
def artifact(tmp_path: Path) -> tuple[Path, Result]:
    folder = tmp_path / "artifact"
    folder.mkdir()
    for name, data in CONTENT.items():
        (folder / name).write_bytes(data)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in CONTENT.items()}
    manifest = json.dumps({"plain": False, "files": digests}).encode()
    (folder / "manifest.json").write_bytes(manifest)
    (folder / "notes-to-myself.txt").write_text("not for everybody")
    made = replace(factory.result(), artifact_sha256=hashlib.sha256(manifest).hexdigest(), artifact=str(folder))
    return folder, made


def test_the_bytes_that_arrive_are_the_artifact_and_its_card_and_nothing_else(
    hub: Hub, artifact: tuple[Path, Result]
) -> None:
    folder, result = artifact
    url = push(result, folder, "me/small")
    assert url == f"{hub.url}/me/small/commit/{'1' * 40}"
    arrived = hub.files["me/small"]
    assert set(arrived) == {*CONTENT, "manifest.json", "README.md"}
    assert all(data == (folder / name).read_bytes() for name, data in arrived.items())
    assert hub.objects[hashlib.sha256(CONTENT["compress.safetensors"]).hexdigest()] == CONTENT["compress.safetensors"]
    assert b"library_name: compress" in arrived["README.md"] and hub.repos == {"me/small": False}
    assert hub.messages == ["bert_int8, measured by compress 0.1.0"]


def test_the_hubs_check_accepts_the_card_and_refuses_metadata_of_other_types(
    hub: Hub, artifact: tuple[Path, Result]
) -> None:
    folder, result = artifact
    written = ModelCard.load(write_card(result, folder))
    written.validate()
    assert hub.requests == 1
    written.data.license = ["mit"]
    with pytest.raises(ValueError, match="license: expected str"):
        written.validate()
    (folder / "README.md").write_text(str(written))
    with pytest.raises(InputError, match="license: expected str"):
        push(result, folder, "me/small")
    assert not hub.files


def test_a_card_that_was_edited_stays_and_a_second_push_goes_to_the_same_place(
    hub: Hub, artifact: tuple[Path, Result], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, result = artifact
    write_card(result, folder, recipes=3)
    push(result, folder, "me/first", recipes=3)
    assert "is sent as it is" not in capsys.readouterr().err
    push(result, folder, "me/first", recipes=4)
    assert "README.md is sent as it is: it differs from the card that these results give" in capsys.readouterr().err
    (folder / "README.md").write_text("---\nlicense: mit\n---\nmine")
    push(result, folder, "me/small", private=True)
    assert hub.repos == {"me/first": False, "me/small": True}
    push(result, folder, "me/small", private=True)
    assert hub.files["me/small"]["README.md"] == b"---\nlicense: mit\n---\nmine"


def test_what_was_not_measured_or_is_damaged_is_not_uploaded(hub: Hub, artifact: tuple[Path, Result]) -> None:
    folder, result = artifact
    with pytest.raises(InputError, match="is not the artifact of this result"):
        push(replace(result, artifact_sha256="0" * 64), folder, "me/small")
    (folder / "compress.safetensors").write_bytes(b"other weights")
    (folder / "config.json").unlink()
    with pytest.raises(InputError) as refused:
        push(result, folder, "me/small")
    assert [problem.rpartition("/")[2].split(":")[0] for problem in refused.value.problems] == [*CONTENT]
    with pytest.raises(InputError, match="nothing to publish"):
        push(factory.failed(), folder, "me/small")
    assert not hub.repos and not hub.files


@pytest.mark.parametrize("repo", ["small", "me/small/er", "me/sm all", "/small", "me/"])
def test_a_name_that_is_none_is_refused(hub: Hub, artifact: tuple[Path, Result], repo: str) -> None:
    with pytest.raises(InputError, match="expected user/name"):
        push(artifact[1], artifact[0], repo)


def test_a_missing_or_wrong_token_offline_mode_and_a_dead_network_are_told(
    hub: Hub, artifact: tuple[Path, Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, result = artifact
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    with pytest.raises(InputError, match=r"token is not valid.*hf auth login"):
        push(result, folder, "me/small")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(InputError, match=r"no token for http://127.0.0.1:\d+; log in"):
        push(result, folder, "me/small")
    monkeypatch.setenv("HF_TOKEN", hub.token)
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    with pytest.raises(InputError, match="cannot be reached"):
        push(result, folder, "me/small")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="HF_HUB_OFFLINE"):
        push(result, folder, "me/small")
    assert not hub.files


def test_a_repository_of_another_user_or_one_that_is_public_is_refused(hub: Hub, artifact: tuple[Path, Result]) -> None:
    folder, result = artifact
    hub.repos["you/small"] = False
    for repo in ("you/small", "you/new"):
        with pytest.raises(InputError, match=r"has no write access to you's repositories .*have the rights"):
            push(result, folder, repo)
    hub.repos["me/open"] = False
    with pytest.raises(InputError, match="already exists and is public"):
        push(result, folder, "me/open", private=True)
    assert not hub.files


def test_the_command_says_where_it_is_or_what_is_wrong(hub: Hub, artifact: tuple[Path, Result], tmp_path: Path) -> None:
    path = result_files.write(tmp_path / "results", artifact[1])
    online = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0", "HF_TOKEN": hub.token}
    for more, code in ((online, 0), ({}, 2)):
        done = subprocess.run(
            [sys.executable, "-m", "compress", "push", str(path), "--repo", "me/small"],
            capture_output=True, text=True, check=False, env={**environment(), "HOME": os.devnull, **more},
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        assert (f"{hub.url}/me/small/commit/" if code == 0 else "HF_HUB_OFFLINE") in done.stdout + done.stderr
    assert set(hub.files["me/small"]) == {*CONTENT, "manifest.json", "README.md"}


def test_a_link_in_an_artifact_uploads_nothing_from_outside(
    hub: Hub, artifact: tuple[Path, Result], tmp_path: Path
) -> None:
    folder, result = artifact
    (tmp_path / "secret").write_bytes(CONTENT["config.json"])
    (folder / "README.md").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match=r"README\.md: is a link"):
        push(result, folder, "me/small")
    (folder / "README.md").unlink()
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(tmp_path / "secret")  # the same bytes: only where they lie is wrong
    with pytest.raises(InputError, match=r"config\.json: a link to a file outside"):
        push(result, folder, "me/small")
    assert not hub.files


Spoil = Callable[[Path], object]


def replace_file(name: str, make: Spoil) -> Spoil:
    """Puts something else where a file of the artifact is, or would be."""

    def spoil(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        make(folder / name)

    return spoil


def move_away(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.write_text("in the way")


def linked_hard(card: Path) -> None:
    secret = card.parent.with_name("secret")
    secret.write_text("private")
    os.link(secret, card)


SPOILT: dict[str, tuple[Spoil, str]] = {
    "a folder without a manifest": (replace_file("manifest.json", lambda p: None), "its manifest.json cannot be read"),
    "a manifest that is a folder": (replace_file("manifest.json", Path.mkdir), "manifest.json: is a folder; expected"),
    "a manifest that is a fifo": (replace_file("manifest.json", os.mkfifo), "manifest.json: is a fifo; expected"),
    "a manifest that is a loop": (replace_file("manifest.json", lambda p: p.symlink_to(p)), "cannot be read"),
    "a file": (move_away, "Not a directory"),
    "half of it": (replace_file("compress.safetensors", lambda p: None), "missing from the artifact"),
    "weights that are a folder": (replace_file("compress.safetensors", Path.mkdir), "missing from the artifact"),
    "weights changed by hand": (lambda f: (f / "compress.safetensors").write_bytes(b"x"), "its sha256 is not"),
    "a card that is a folder": (replace_file("README.md", Path.mkdir), "README.md: not a regular file"),
    "a card that is a fifo": (replace_file("README.md", os.mkfifo), "README.md: not a regular file"),
    "a card that is another file": (replace_file("README.md", linked_hard), "README.md: is a link"),
    "a card that is no text": (lambda f: (f / "README.md").write_bytes(b"---\nlicense: \xff\n---\n"), "as a card"),
    "a card whose head is no YAML": (lambda f: (f / "README.md").write_text("---\na: [\n---\n"), "as a card"),
    "a card whose head is a list": (lambda f: (f / "README.md").write_text("---\n- a\n---\n"), "as a card"),
}


@pytest.mark.parametrize(("spoil", "words"), SPOILT.values(), ids=SPOILT)
def test_an_incomplete_artifact_is_one_error_before_any_upload(
    hub: Hub, artifact: tuple[Path, Result], run: Run, tmp_path: Path, spoil: Spoil, words: str
) -> None:
    path = result_files.write(tmp_path / "results", artifact[1])
    spoil(artifact[0])
    code, _, err = run("push", path, "--repo", "me/small")
    assert (code, err.count("\n"), hub.requests) == (2, 1, 0), err
    assert words in err


REPOSITORIES = (
    "",
    "../x",
    "me/../x",
    "me/x\n",
    "me/sm\u00e4ll",
    "me/" + "x" * 200,
    "me/x\x1b[31m",
    "me/\ud800",
    "me/x.git",
)
TOKENS = ("hf_t\u00f6ken", "hf token", "\x1b[31m", " ")
ENDPOINTS = ("http://[::1", "ftp://hub", "no address", "http://h\x00b", "")


@pytest.mark.parametrize("repo", REPOSITORIES, ids=ascii)
def test_a_repository_that_cannot_be_is_one_error(
    hub: Hub, artifact: tuple[Path, Result], run: Run, tmp_path: Path, repo: str
) -> None:
    path = result_files.write(tmp_path / "results", artifact[1])
    code, _, err = run("push", path, "--repo", repo)
    expected = "expected user/name" if repo else "empty text after --repo"
    assert code == 2 and expected in err and "\x1b" not in err
    assert hub.requests == 0


@pytest.mark.parametrize(("name", "value"), [*(("HF_TOKEN", v) for v in TOKENS), *(("ENDPOINT", v) for v in ENDPOINTS)])
def test_a_token_or_an_address_that_cannot_be_is_one_error(
    hub: Hub, artifact: tuple[Path, Result], run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    name: str, value: str,
) -> None:  # fmt: skip
    path = result_files.write(tmp_path / "results", artifact[1])
    if name == "HF_TOKEN":
        monkeypatch.setenv(name, value)
    else:
        monkeypatch.setattr(constants, name, value)
    code, _, err = run("push", path, "--repo", "me/small")
    assert (code, err.count("\n"), hub.requests) == (2, 1, 0), err
    assert ("token" if name == "HF_TOKEN" else "cannot be reached") in err


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.write_bytes(b"\xff")], ids=["folder", "bytes"])
def test_a_token_file_that_cannot_be_read_is_one_error(
    hub: Hub, artifact: tuple[Path, Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make: Spoil
) -> None:
    make(tmp_path / "token")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(InputError, match="the token cannot be read from"):
        push(artifact[1], artifact[0], "me/small")
    assert hub.requests == 0


@pytest.mark.parametrize(
    "files", [["config.json"], {"/etc/hostname": "0" * 64}, {"../x": "0" * 64}, {"config.json": 3}]
)
def test_a_measured_manifest_that_is_none_is_one_sentence(
    hub: Hub, artifact: tuple[Path, Result], files: object
) -> None:
    folder, result = artifact
    raw = json.dumps({"plain": False, "files": files}).encode()
    (folder / "manifest.json").write_bytes(raw)
    with pytest.raises(InputError, match=r"manifest\.json"):
        push(replace(result, artifact_sha256=hashlib.sha256(raw).hexdigest()), folder, "me/small")
    assert not hub.files
