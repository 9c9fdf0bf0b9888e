"""Lines that serve an export are in the cards and on the page, and those that are marked as tried run."""

import contextlib
import io
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from compress.export import export
from compress.report import write_export_card
from compress.report.card import card
from compress.report.serving import LIBRARY, SERVING, Leaving
from compress.spec.exports import TARGETS, Target
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
