"""Lines that serve an export are in the cards and on the page, and those that are marked as tried run."""

import contextlib
import io
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard

from compress.export import export
from compress.methods import apply_step
from compress.model import artifact, runtimes
from compress.model.bundle import Bundle
from compress.report import write_export_card
from compress.report.card import card
from compress.report.serving import LIBRARY, OF_ARTIFACTS, SERVING, Leaving
from compress.spec.exports import TARGETS, Target
from compress.spec.steps import Quantize
from tests import factory
from tests.export import made
from tests.helpers import ROOT

PAGE = (ROOT / "docs" / "deploy-llm.md").read_text(encoding="utf-8")
LANGUAGE = {"name": "stories", "task": "causal-lm", "model": "stories"}
RUN: tuple[Target, ...] = ("compressed-tensors", "gguf")


def test_every_format_has_lines_and_a_library() -> None:
    assert set(SERVING) == set(LIBRARY) == set(TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_the_page_has_every_line(target: Target) -> None:
    for serving in SERVING[target]:
        for line in serving.lines.splitlines():
            shown = line.replace("FOLDER", f"exports/llm/llama_int4/{target}")
            assert shown.strip() in PAGE, line


def test_an_artifact_of_onnxruntime_genai_is_opened_by_it_with_the_tokens_of_its_tokenizer(tmp_path: Path) -> None:
    library = pytest.importorskip("onnxruntime_genai", reason="the extra onnxruntime-genai is not installed")
    serving = OF_ARTIFACTS["genai"]
    for line in serving.lines.splitlines():
        assert line.replace("FOLDER", "artifacts/llm/llama_int4-runtime-onnxruntime-genai").strip() in PAGE, line
    text = card(factory.result("int4", workload=LANGUAGE), plain=False, kind="genai")
    assert 'model = onnxruntime_genai.Model("path/to/this/folder")' in text and "--to gguf" not in text
    tokenizer = made.tokenizer()
    runtime = "onnxruntime-genai"
    bundle = Bundle(made.llama().eval(), tokenizer, "causal-lm", torch.device("cpu"), runtime=runtime)
    packed = apply_step(bundle, Quantize(bits=4, symmetric=True, group_size=32))
    artifact.save(runtimes.finish(packed, runtime), tmp_path / "a", {"runtime": runtime})
    names: dict[str, Any] = {}
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(serving.lines.replace("FOLDER", str(tmp_path / "a")), serving.program, "exec"), names)
    assert out.getvalue().strip()
    assert names["onnxruntime_genai"] is library
    assert list(names["ids"]) == tokenizer("Once upon a time")["input_ids"]
    found, _, _ = artifact.load(tmp_path / "a")
    expected = found.generate(torch.tensor([list(names["ids"])]), max_new_tokens=16)[0].tolist()
    written = names["generator"].get_sequence(0).tolist()
    assert written == expected[: len(written)] and len(written) > len(names["ids"])


def test_the_card_of_a_language_model_shows_what_serves_it() -> None:
    text = card(factory.result("llama_int4", workload=LANGUAGE), plain=False)
    assert "python -m compress export llama_int4 --to gguf --out gguf" in text
    for line in ("llama-server -m gguf/model.gguf", "vllm serve compressed-tensors", "LLMPipeline", "gguf_file="):
        assert line in text
    assert text.count("not tried") == 3
    assert "## Serving" not in card(factory.result(), plain=False)
    assert "## Serving" not in card(factory.result(workload=LANGUAGE), plain=False, kind="onnx")


@pytest.mark.parametrize("target", TARGETS)
def test_the_card_of_an_export_names_its_format_and_its_checks(target: Target, tmp_path: Path) -> None:
    path = write_export_card(factory.result(workload=LANGUAGE), tmp_path, target, ["reader 1.0: logits are equal"])
    loaded = ModelCard.load(path)
    assert loaded.data.library_name == LIBRARY[target]
    assert loaded.data.tags == ["compress", "quantize", target]
    assert "- checked with reader 1.0: logits are equal" in loaded.text
    assert f"export to {target}" in loaded.text
    assert "from compress import load" not in loaded.text
    assert card(factory.result(), plain=True, leaving=Leaving(target, ())).count("## Loading") == 1


@pytest.mark.parametrize("target", RUN)
def test_lines_that_are_marked_as_tried_run(target: Target, tmp_path: Path) -> None:
    for package in {"compressed-tensors": ["compressed_tensors"], "gguf": ["gguf", "xllamacpp"]}[target]:
        pytest.importorskip(package)
    source = made.save(tmp_path / "a", made.llama(), made.tokenizer(), **made.SYMMETRIC)
    export(source, target, tmp_path / "b")
    for serving in SERVING[target]:
        if serving.tried:
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(serving.lines.replace("FOLDER", str(tmp_path / "b")), serving.program, "exec"), {})
            assert out.getvalue().strip()
