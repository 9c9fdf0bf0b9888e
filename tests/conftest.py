"""Fixtures shared by all tests: a made workload, no network, and measuring that waits only for its own worker's."""

import atexit
import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads that wait for each other cost tiny models most of their time
if "PYTEST_XDIST_WORKER" in os.environ:
    from compress.base import owners

    for left in Path(tempfile.gettempdir()).glob("compress-gw*"):  # of workers that were killed
        if owners.abandoned(left):
            shutil.rmtree(left, ignore_errors=True)
    marked = f"compress-{os.environ['PYTEST_XDIST_WORKER']}-{owners.mark()}-"
    os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(prefix=marked)
    os.environ["COMPRESS_LOCKS"] = os.environ["TMPDIR"]
    atexit.register(shutil.rmtree, tempfile.tempdir, ignore_errors=True)
else:  # the workers that this process starts share it
    os.environ["COMPRESS_TEST_EXPORTS"] = tempfile.mkdtemp(prefix="exported-")
    atexit.register(shutil.rmtree, os.environ["COMPRESS_TEST_EXPORTS"], ignore_errors=True)
os.environ["COMPRESS_CACHE"] = tempfile.mkdtemp(prefix="cache-")  # neither the user's own nor that of an earlier suite
atexit.register(shutil.rmtree, os.environ["COMPRESS_CACHE"], ignore_errors=True)


@pytest.fixture(scope="module", autouse=True)
def seldom_collected() -> Iterator[None]:
    """Leave what a file imported and compiled out of later collections, each of which takes over a second otherwise."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a workload with a small trained BERT and made sentences."""
    from tests.helpers import write_workload

    return write_workload(tmp_path_factory.mktemp("workload"))


@pytest.fixture
def forked_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in this process measure in processes that are forked, not started."""
    from compress.harness import engine
    from compress.harness import run as harness
    from tests import forked

    monkeypatch.setattr(engine, "run_child", forked.run_child)
    monkeypatch.setattr(harness, "threads", forked.one_thread)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line in this process, without a traceback; gives exit code, standard output and error."""
    from compress import cli

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["compress", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        assert ended.value.code in (0, 1, 2), err
        assert "Traceback" not in err
        return int(ended.value.code), out, err

    return call


SLOW = (
    "test_readme",
    "test_run",
    "test_artifact",
    "test_runtimes",
    "test_nothing_is_sent",
    "test_notebooks",
    "test_distill",
    "test_providers",
    "test_quantize",
    "test_sessions",
    "test_training_forms",
    "test_tasks",
)
"""Files that take minutes: first, so that at the end no process waits for the other's."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the slow files first."""
    place = {name: index for index, name in enumerate(SLOW)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


def pytest_collection_finish() -> None:
    """Equal models are exported once, except by tests that imported the function itself."""
    if "torch" in sys.modules:
        from tests import exports

        exports.install()
