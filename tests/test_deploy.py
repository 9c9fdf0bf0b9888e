"""docs/deploy.md: its server answers batches as single calls; its C++, its image and its commands work."""

import asyncio
import contextlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from compress import load
from compress.methods import apply_step
from compress.model import artifact, runtimes
from compress.spec.steps import Quantize
from tests.helpers import ROOT, tokenizer, trained_bert
from tests.made_models import bundle
from tests.test_readme import FILE, SERVING, blocks

PAGE = ROOT / "docs" / "deploy.md"
TEXTS = ("the film was good", "a cold end", "the very dull story felt quite awful and the actor was bad", "warm")
LABELS = ("negative", "positive")
FILES = {found.group(1): text for kind, text in blocks(PAGE) if kind != "yaml" and (found := FILE.match(text))}
LINES = [line for kind, text in blocks(PAGE) if kind == "bash" for line in text.strip().splitlines()]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's files, and with graphs of a small classifier: in fp32 (`dense`) and int8."""
    folder = tmp_path_factory.mktemp("deploy")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    for name, steps in (("dense", ()), ("bert_int8", (Quantize(bits=8),))):
        model = trained_bert()
        model.config.id2label = dict(enumerate(LABELS))
        one = bundle(model)
        for step in steps:
            one = apply_step(one, step)
        artifact.save(runtimes.finish(one, "onnxruntime"), folder / "artifacts" / "my" / name)
    (folder / "tokens.txt").write_text("\n".join(" ".join(map(str, ids)) for ids in encoded()["input_ids"]) + "\n")
    return folder


def encoded(texts: tuple[str, ...] = TEXTS, **settings: Any) -> Any:
    return tokenizer()(list(texts), **settings)


def expected(folder: Path, texts: tuple[str, ...] = TEXTS) -> torch.Tensor:
    """Return the artifact's logits [batch, classes] of these texts in one batch, as compress loads it."""
    model, _ = load(folder)
    logits: torch.Tensor = model(**encoded(texts, padding=True, return_tensors="pt")).logits
    return logits


def line_of(program: str) -> str:
    """Return the page's one command that starts this program."""
    (line,) = (line for line in LINES if line.startswith(f"{program} "))
    return line


def test_the_page_shows_these_files_and_commands_only() -> None:
    assert set(FILES) == {"serve.py", "classify.cpp", "Dockerfile"}
    assert {line.split()[0] + " " for line in LINES} == {"python ", *SERVING}


@pytest.fixture
def server(place: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import serve.py afresh for an artifact; a queue belongs to one event loop. Collect no batch by time."""
    for package in ("fastapi", "httpx"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install 'compress[serve]'")

    def make(name: str, most_texts: int) -> ModuleType:
        monkeypatch.setenv("ARTIFACT", str(place / "artifacts" / "my" / name))
        spec = importlib.util.spec_from_file_location("serve", place / "serve.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.MOST_TEXTS, module.WAIT_S = most_texts, 60  # type: ignore[attr-defined]
        return module

    return make


@contextlib.asynccontextmanager
async def client_of(server: ModuleType) -> Any:
    import httpx

    transport = httpx.ASGITransport(app=server.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        yield client


def ask(server: ModuleType, *texts: str) -> list[Any]:
    """Return the responses to these texts, all requested at once."""

    async def together() -> list[Any]:
        async with server.lifespan(server.app), client_of(server) as client:
            return await asyncio.gather(*(client.post("/classify", json={"text": text}) for text in texts))

    return asyncio.run(together())


class Counted:
    """A session that records the shapes of its calls."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.shapes: list[list[int]] = []

    def run(self, outputs: list[str], feeds: dict[str, Any]) -> Any:
        (shape,) = {tuple(array.shape) for array in feeds.values()}
        self.shapes.append(list(shape))
        return self.session.run(outputs, feeds)


def test_requests_that_arrive_together_share_calls_and_get_the_answers_of_single_calls(
    server: Any, place: Path
) -> None:
    serve = server("dense", most_texts=4)
    serve.session = Counted(serve.session)
    responses = ask(serve, *TEXTS, *reversed(TEXTS))
    longest = max(map(len, encoded()["input_ids"]))
    assert serve.session.shapes == [[4, longest], [4, longest]]
    for text, response in zip((*TEXTS, *reversed(TEXTS)), responses, strict=True):
        (single,) = torch.softmax(expected(place / "artifacts" / "my" / "dense", (text,)), dim=1)
        assert response.status_code == 200
        torch.testing.assert_close(torch.tensor(response.json()["probabilities"]), single, rtol=0, atol=1e-5)
        assert response.json()["label"] == LABELS[int(single.argmax())]


def test_a_batch_in_int8_is_answered_as_compress_answers_that_batch(server: Any, place: Path) -> None:
    responses = ask(server("bert_int8", most_texts=len(TEXTS)), *TEXTS)
    answers = torch.softmax(expected(place / "artifacts" / "my" / "bert_int8"), dim=1)
    found = torch.tensor([response.json()["probabilities"] for response in responses])
    torch.testing.assert_close(found, answers, rtol=0, atol=1e-5)


def test_requests_do_not_wait_until_the_batch_is_full(server: Any) -> None:
    serve = server("dense", most_texts=32)
    serve.session, serve.WAIT_S = Counted(serve.session), 0.01
    assert [response.status_code for response in ask(serve, *TEXTS)] == [200] * len(TEXTS)
    assert sum(rows for rows, _ in serve.session.shapes) == len(TEXTS)


def test_an_error_reaches_its_own_batch_and_the_server_goes_on(server: Any) -> None:
    serve = server("dense", most_texts=1)
    answer = serve.answer

    def failing(texts: list[str]) -> Any:
        if "broken" in texts:
            raise RuntimeError("no memory")
        return answer(texts)

    serve.answer = failing
    assert [response.status_code for response in ask(serve, "warm", "broken", "warm")] == [200, 500, 200]


def test_requests_beyond_the_queue_are_refused(server: Any) -> None:
    serve = server("dense", most_texts=1)

    async def crowded() -> Any:
        serve.queue = asyncio.Queue(1)
        async with client_of(serve) as client:  # nothing answers: the first request stays in the queue
            first = asyncio.create_task(client.post("/classify", json={"text": "warm"}))
            while not serve.queue.full():
                await asyncio.sleep(0)
            refused = await client.post("/classify", json={"text": "cold"})
            first.cancel()
            return refused

    response = asyncio.run(crowded())
    assert response.status_code == 503
    assert response.json() == {"detail": "too many requests are waiting; try again later"}


def image_command() -> list[str]:
    (words,) = re.findall(r"^CMD (\[.*\])$", FILES["Dockerfile"], re.MULTILINE)
    command: list[str] = json.loads(words)
    return command


@contextlib.contextmanager
def started(command: list[str], place: Path) -> Iterator[str]:
    """Start uvicorn with this command on a free port; yield the address when it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [str(port) if word == "8000" else "127.0.0.1" if word == "0.0.0.0" else word for word in command]
    process = subprocess.Popen([sys.executable, "-m", *words], cwd=place, stderr=subprocess.PIPE, text=True)
    try:
        for _ in range(600):
            with contextlib.suppress(urllib.error.URLError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.2)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.mark.parametrize("command", [shlex.split(line_of("uvicorn")), image_command()], ids=["page", "image"])
def test_the_servers_commands_serve_what_curl_asks(command: list[str], place: Path) -> None:
    pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install 'compress[serve]'")
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    with started(command, place) as address:
        line = shlex.split(line_of("curl").replace("localhost:8000", address))
        done = subprocess.run([*line, "--noproxy", "*"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["label"] == "positive"  # "the film was lovely"


def test_the_images_packages_are_those_of_the_tests_and_its_files_exist(place: Path) -> None:
    pins = set(re.findall(r"[\w-]+==[\w.]+", FILES["Dockerfile"]))
    assert {pin.split("==")[0] for pin in pins} == {"fastapi", "onnxruntime", "transformers", "uvicorn"}
    assert pins <= set((ROOT / "constraints.txt").read_text().splitlines())
    (given,) = re.findall(r"^ARG ARTIFACT=(.*)$", FILES["Dockerfile"], re.MULTILINE)
    sources = re.findall(r"^COPY (\S+)", FILES["Dockerfile"], re.MULTILINE)
    assert sources == ["${ARTIFACT}", "serve.py"]
    assert f"ARTIFACT={given} " in line_of("docker build")
    assert all((place / source.replace("${ARTIFACT}", given)).exists() for source in sources)


def test_the_image_is_built(place: Path) -> None:
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no Docker daemon runs here")
    done = subprocess.run(shlex.split(line_of("docker build")), cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def native(tmp_path: Path) -> Path:
    """A folder with onnxruntime's headers for C++ in `include`, and its library, the wheel's, in `lib`."""
    import onnxruntime

    places = (Path(os.environ.get("ONNXRUNTIME", "/usr")) / "include", Path("/usr/local/include"))
    headers = [folder for place in places for folder in (place, place / "onnxruntime")
               if (folder / "onnxruntime_cxx_api.h").exists()]  # fmt: skip
    libraries = [*(Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")]
    if not headers or not libraries or shutil.which("g++") is None:
        pytest.skip("needs g++ and onnxruntime's headers: set ONNXRUNTIME to the folder of its release for C++")
    (tmp_path / "include").symlink_to(headers[0])
    (tmp_path / "lib").mkdir()
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (tmp_path / "lib" / name).symlink_to(libraries[0])
    return tmp_path


@pytest.mark.parametrize("name", ["dense", "bert_int8"])
def test_the_program_in_cpp_answers_like_compress(name: str, native: Path, place: Path) -> None:
    env = {**os.environ, "ONNXRUNTIME": str(native)}
    for line in (line_of("g++"), line_of("./classify").replace("bert_int8", name)):
        done = subprocess.run(line, shell=True, cwd=place, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    found = torch.tensor([[float(word) for word in line.split()] for line in done.stdout.splitlines()])
    torch.testing.assert_close(found, expected(place / "artifacts" / "my" / name), rtol=1e-4, atol=1e-4)
