"""Hub models in the local cache are looked at as folders are: before anything long happens, with the same errors."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from ruamel.yaml import YAML

from compress.base.config import InputError
from compress.data import hub, loading, locate
from compress.data.workload import SHIPPED, Workload
from compress.harness import preflight
from compress.spec.recipe import Recipe
from tests.data.test_checkpoints import REFUSED, Spoil, config, cut, rename_tensors, shard
from tests.helpers import bert, write_workload

COMMIT = "1" * 40
HOSTILE = ("ten million layers", "a billion labels", "width of 10^9", "cut off", "a web page", "one other shape",
           "no head", "unknown architecture", "NaN", "a format of nothing", "integers", "other names")  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workload with random weights whose model is `owner/small` of the hub."""
    file = write_workload(tmp_path_factory.mktemp("whole"), model=bert())
    file.write_text(file.read_text().replace("model: model", "model: owner/small"))
    return file


@pytest.fixture
def snapshot(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of that model in a cache of its own, of which `refs/main` is the commit."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    home = tmp_path / "hub" / "models--owner--small"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(COMMIT)
    return Path(shutil.copytree(whole.parent / "model", home / "snapshots" / COMMIT))


def check(workload: Path, recipe: Recipe | None = None) -> None:
    """Everything that is looked at before a step runs."""
    preflight.check([recipe or Recipe()], locate.resolve(Workload.load(workload)))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_cached_model_that_cannot_be_loaded_is_refused_as_a_folder_is(name: str, whole: Path, snapshot: Path) -> None:
    spoil, words = REFUSED[name]
    spoil(snapshot)
    with pytest.raises(InputError) as refused:
        check(whole)
    assert words in str(refused.value)
    assert all(problem.startswith("my model owner/small: ") for problem in refused.value.problems)


def test_a_cached_model_is_taken_also_with_a_wrappers_names(whole: Path, snapshot: Path) -> None:
    rename_tensors(lambda name: f"_orig_mod.{name}")(snapshot)
    check(whole)
    model, _ = loading.load_model(locate.resolve(Workload.load(whole)))
    plain = bert().state_dict()
    assert all(torch.equal(plain[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("spoil", [config(num_hidden_layers=10**7), config(hidden_size="12")], ids=["deep", "text"])
def test_a_model_without_its_weights_is_refused_by_its_configuration(
    spoil: Spoil, whole: Path, snapshot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard(snapshot, kept=1)  # a download that did not end
    monkeypatch.setattr(hub, "fetched", lambda *_: pytest.fail("weights were asked for"))
    locate.resolve(Workload.load(whole))
    spoil(snapshot)
    with pytest.raises(InputError, match=r"my model owner/small: config\.json (num_hidden_layers|hidden_size)"):
        locate.resolve(Workload.load(whole))


def test_downloaded_weights_are_checked_before_a_step_runs(
    whole: Path, snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard(snapshot)
    distant = tmp_path / "distant"
    distant.mkdir()
    for file in snapshot.glob("model*"):
        file.rename(distant / file.name)

    def download(_: str, revision: str, allow_patterns: list[str]) -> None:
        assert revision == COMMIT
        for file in distant.iterdir():
            if file.name in allow_patterns:
                shutil.copy(file, snapshot)

    monkeypatch.setattr(hub, "reachable", lambda: True)
    monkeypatch.setattr("compress.data.hub.pickles", lambda *_: [])
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    found = locate.resolve(Workload.load(whole))
    cut(distant, "model-00002-of-00002.safetensors")
    with pytest.raises(InputError, match=r"my model owner/small: model-00002-of-00002\.safetensors is truncated"):
        preflight.check([Recipe()], found)


def test_a_cached_student_is_checked_too(whole: Path, snapshot: Path) -> None:
    shutil.copytree(whole.parent, whole.parent.parent / "teacher", dirs_exist_ok=True)
    teacher = whole.parent.parent / "teacher" / "my.yaml"
    teacher.write_text(teacher.read_text().replace("model: owner/small", "model: model"))
    cut(snapshot)
    recipe = Recipe.model_validate({"steps": [{"method": "distill", "model": "owner/small", "keep_every": 1}]})
    with pytest.raises(InputError, match=r"distill model owner/small: model\.safetensors is truncated"):
        check(teacher, recipe)


def test_the_way_out_without_a_network_is_every_shipped_workload_that_needs_none() -> None:
    plain = [YAML(typ="safe").load(file) for file in SHIPPED.glob("*.yaml")]
    needless = {each["model"].removeprefix("offline:") for each in plain if each["model"].startswith("offline:")}
    listed = re.search(r"an offline workload \(([^)]*)\)", hub.WAYS_OUT)
    assert listed is not None and set(listed[1].split(", ")) == needless != set()
