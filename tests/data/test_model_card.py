"""What a model states of itself: read from its card and its configuration, left out where it is not stated."""

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from compress.data import locate
from compress.data.model_card import STATED, stated
from compress.data.workload import Workload
from tests.helpers import bert, write_workload

LINK = "https://example.org/licence"
HEADS: dict[str, tuple[str, dict[str, Any]]] = {
    "a licence": ("license: apache-2.0", {"license": "apache-2.0"}),
    "another licence": (
        f"license: other\nlicense_name: llama3\nlicense_link: {LINK}",
        {"license": "other", "license_name": "llama3", "license_link": LINK},
    ),
    "a link to a file of its own": ("license: other\nlicense_link: LICENSE", {"license": "other"}),
    "a base model": ("base_model: google-bert/bert-base-uncased", {"base_model": "google-bert/bert-base-uncased"}),
    "two base models": ("base_model:\n- a/b\n- c/d", {"base_model": ["a/b", "c/d"]}),
    "a base model of this machine": ("base_model: ./my-model", {}),
    "an unknown licence": ("license: unknown", {}),
    "an empty licence": ("license:", {}),
    "a number": ("license: 2", {}),
    "a list of licences": ("license: [mit]", {}),
    "several lines": ('license: "a\\nb"', {}),
    "a long text": (f"license: {'x' * 201}", {}),
    "no YAML": ("license: [", {}),
    "a list": ("- license: mit", {}),
    "an alias": ("a: &a mit\nlicense: *a", {}),
}


@pytest.mark.parametrize(("head", "expected"), HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("ending", ["\n", "\r\n"], ids=["unix", "windows"])
def test_a_card_states_what_its_head_holds(head: str, expected: dict[str, Any], ending: str, tmp_path: Path) -> None:
    text = f"---\n{head}\n---\n\n# Mine\n\nlicense: not this one\n"
    (tmp_path / "README.md").write_bytes(text.replace("\n", ending).encode())
    assert stated(tmp_path) == expected


@pytest.mark.parametrize(
    "card", [b"# Mine\n\n---\nlicense: mit\n---\n", b"\xff\xfe", b""], ids=["below", "bytes", "empty"]
)
def test_a_text_without_a_head_states_nothing(card: bytes, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes(card)
    assert stated(tmp_path) == {}


def test_the_configuration_counts_where_the_card_is_silent(tmp_path: Path) -> None:
    assert stated(tmp_path) == {}
    (tmp_path / "config.json").write_text(json.dumps({"license": "mit"}))
    assert stated(tmp_path) == {"license": "mit"}
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    assert stated(tmp_path) == {"license": "apache-2.0"}


def test_a_workload_records_what_its_models_folder_states(tmp_path: Path) -> None:
    path = write_workload(tmp_path, model=bert())
    assert locate.resolve(Workload.load(path)).resolved[STATED] == {}
    (tmp_path / "model" / "README.md").write_text("---\nlicense: mit\nbase_model: a/b\n---\n")
    assert locate.resolve(Workload.load(path)).resolved[STATED] == {"license": "mit", "base_model": "a/b"}


def test_a_cached_model_of_the_hub_states_what_its_cached_card_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_workload(tmp_path, model=bert())
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    home, commit = tmp_path / "hub" / "models--owner--small", "1" * 40
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(commit)
    (home / "snapshots").mkdir()
    snapshot = (tmp_path / "model").rename(home / "snapshots" / commit)
    path.write_text(path.read_text().replace("model: model", "model: owner/small"))
    assert locate.resolve(Workload.load(path)).resolved[STATED] == {}
    (snapshot / "README.md").write_text("---\nlicense: bsd-3-clause\n---\n")
    resolved = locate.resolve(Workload.load(path)).resolved
    assert (resolved["model_revision"], resolved[STATED]) == (commit, {"license": "bsd-3-clause"})
