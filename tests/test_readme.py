"""Every command and example of the README and of the documentation, in their order, on small models."""

import contextlib
import glob
import importlib.util
import io
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compress import cli
from compress.base.config import InputError
from compress.data import workload
from compress.data.workload import Workload, find
from compress.spec import measure
from compress.spec.measure import PROFILES, Settings
from compress.spec.recipe import Recipe
from tests import forked, recordings, zero_shot
from tests.asked import write_asked
from tests.export import made
from tests.helpers import ROOT, sentences, tokenizer, trained_bert, write_workload
from tests.pictured import write_detected, write_segmented
from tests.similar import searches, write_search, write_similar
from tests.tagged import write_tagged
from tests.translated import trained as trained_translator
from tests.translated import write_translated
from tests.zero_shot import write_zero_shot

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
README = ROOT / "README.md"
PAGES = [page for page in sorted((ROOT / "docs").rglob("*.md")) if BLOCK.search(page.read_text())]
TINY = Settings(profile="quick", rounds=2, window_s=0.05, preroll_s=0, warmup_s=0.2, points="headline")
BEFORE = (  # what pages take for granted, where the README has not run before them
    "python -m compress init --model my-model --data my-data --task text-classification > my.yaml",
    "python -m compress run bert_int8 prune_half --workload my.yaml",
)
COMMITTED = "results/reference/"
"""What the examples read from the checkout itself; everything else lies in the folder where they run."""
SHORTENED = "..."
"""A line that stands for others in a shown output."""
SERVING = ("g++ ", "./classify ", "uvicorn ", "curl ", "docker ")
"""Commands of deploy.md, which tests/test_deploy.py runs."""
NEEDS = re.compile(r"# needs (\w+)")
"""The first line of an example that needs an optional package: it runs where that is installed."""
PACKAGES = {"deploy-llm.md": ("gguf", "compressed_tensors", "onnxruntime_genai"), "llm.md": ("gguf",)}
"""Optional packages that the commands of a page need."""
FILE = re.compile(r"(?://|#) (\w+\.(?:py|cpp)|Dockerfile): ")
"""The first line of an example that is a file: its name and its purpose."""
TAKEN: dict[str, str] = {}
"""Output of the lines that have run: the same command on another page need not run again."""


def blocks(page: Path) -> list[tuple[str, str]]:
    """Kind and text of every example of a page."""
    return [(m.group(1), m.group(2)) for m in BLOCK.finditer(page.read_text())]


def run_shell(line: str, patch: pytest.MonkeyPatch) -> str:
    """Run one `python -m compress ...` line in this process, redirected where the line says so; return its output."""
    words = [str(ROOT / w) if w.startswith(COMMITTED) else w for w in shlex.split(line, comments=True)]
    target = words[words.index(">") + 1] if ">" in words else None
    arguments = words[3 : words.index(">")] if ">" in words else words[3:]
    expanded = [path for word in arguments for path in (sorted(glob.glob(word)) or [word])]  # noqa: PTH207
    patch.setattr(sys, "argv", ["compress", *expanded])
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        try:
            cli.main()
        except SystemExit as ended:
            most = 1 if words[3] == "check" else 0  # noise of such short windows can keep a gate from passing
            assert (ended.code or 0) in range(most + 1), f"{line}: exit code {ended.code}"
            raise
    if target is not None:
        Path(target).write_text(out.getvalue())
    return out.getvalue()


def run_block(kind: str, text: str, names: dict[str, Any], patch: pytest.MonkeyPatch) -> None:
    """Run one example in the current folder; what is shown as `text` must be output of the commands so far."""
    if kind == "yaml":
        name = text.split(":", 1)[0].removeprefix("#").strip()
        Path(name).write_text(text)
        assert Workload.load(name) if "\ntask:" in text else Recipe.load(name)
    elif kind == "python" and not FILE.match(text) and installed(text):  # tests/test_deploy.py imports a file
        exec(compile(text, "example", "exec"), names)
    elif kind == "text":
        printed = unwrapped("\n".join(TAKEN.values()))
        for line in text.strip().splitlines():
            assert line == SHORTENED or unwrapped(line) in printed, line
    elif kind == "bash":
        for line in text.strip().splitlines():
            if line.startswith("make "):
                done = subprocess.run(["make", "-n", *line.split()[1:]], cwd=ROOT, capture_output=True, check=False)
                assert done.returncode == 0, line
            elif not line.startswith(SERVING):
                assert line.startswith("python -m compress "), line
                run_once(line, patch)


def installed(text: str) -> bool:
    """Return whether the package that an example needs is installed."""
    found = NEEDS.match(text)
    return found is None or importlib.util.find_spec(found.group(1)) is not None


def unwrapped(text: str) -> str:
    """Return the words of an output, however its lines are broken."""
    return " ".join(text.split())


def run_once(line: str, patch: pytest.MonkeyPatch) -> None:
    """Run a line unless it has run."""
    if line not in TAKEN:
        TAKEN[line] = run_shell(line, patch)


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    """Short measuring in forked processes, until the last page is done."""
    from compress.harness import engine
    from compress.harness import run as harness

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "run_child", forked.run_child)
        patch.setattr(harness, "threads", forked.one_thread)
        patch.setattr(measure, "PROFILES", dict.fromkeys(PROFILES, TINY))
        yield patch


@pytest.fixture(scope="module")
def folder(patch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with my-model, my-data, my-llm and my-texts, and a small stand-in for the default workload."""
    import datasets

    place = tmp_path_factory.mktemp("examples")
    trained_bert().save_pretrained(place / "my-model")
    tokenizer().save_pretrained(place / "my-model")
    (place / "my-data").mkdir()
    for split, count, seed in (("train", 64, 1), ("test", 60, 2)):
        datasets.Dataset.from_dict(sentences(count, seed)).to_parquet(place / "my-data" / f"{split}.parquet")
    write_tagged(place / "tagged")
    (place / "tagged" / "model").rename(place / "my-tagger")
    (place / "tagged" / "data").rename(place / "my-entities")
    write_similar(place / "similar")
    (place / "similar" / "model").rename(place / "my-encoder")
    write_search(place / "search", **searches(40, 2))
    (place / "search" / "data").rename(place / "my-search")
    (place / "similar" / "data").rename(place / "my-similar")
    write_asked(place / "asked")
    (place / "asked" / "model").rename(place / "my-reader")
    (place / "asked" / "data").rename(place / "my-questions")
    write_zero_shot(place / "colours", "clip", zero_shot.trained("clip"))
    (place / "colours" / "model").rename(place / "my-clip")
    (place / "colours" / "data").rename(place / "my-colours")
    for name, found, write in (("detector", "objects", write_detected), ("segmenter", "scenes", write_segmented)):
        write(place / name)
        (place / name / "model").rename(place / f"my-{name}")
        (place / name / "data").rename(place / f"my-{found}")
    write_translated(place / "translated", trained_translator(steps=100))
    (place / "translated" / "model").rename(place / "my-translator")
    (place / "translated" / "data").rename(place / "my-translations")
    recordings.write_workload_folder(place / "speech", recordings.trained("whisper"), "whisper")
    (place / "speech" / "model").rename(place / "my-whisper")
    (place / "speech" / "data").rename(place / "my-recordings")
    made.llama().save_pretrained(place / "my-llm")
    made.tokenizer().save_pretrained(place / "my-llm")
    (place / "my-texts").mkdir()
    for split, seed in (("train", 1), ("test", 2)):
        (place / "my-texts" / f"{split}.txt").write_text("\n".join(sentences(100, seed)["text"]))
    texts, labels = sentences(300, 3).values()
    named = [f"{text},{('negative', 'positive')[label]}" for text, label in zip(texts, labels, strict=True)]
    (place / "reviews.csv").write_text("\n".join(["review,sentiment", *named]) + "\n")
    stand_in = write_workload(place / "stand-in", name="stdlib-bert")
    found = find
    patch.setattr(workload, "find", lambda name: stand_in if name == "stdlib-bert" else found(name))
    patch.chdir(place)
    return place


def test_the_readme_has_examples_of_every_kind() -> None:
    kinds = [kind for kind, _ in blocks(README)]
    assert kinds.count("bash") >= 5
    assert {"text", "yaml", "python"} <= set(kinds)


@pytest.mark.usefixtures("folder")
def test_every_command_and_example_of_the_readme_runs(patch: pytest.MonkeyPatch) -> None:
    names: dict[str, Any] = {}
    for kind, text in blocks(README):
        run_block(kind, text, names, patch)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT / "docs")) for page in PAGES])
def test_every_command_and_example_of_the_documentation_runs(page: Path, patch: pytest.MonkeyPatch) -> None:
    for package in PACKAGES.get(page.name, ()):
        pytest.importorskip(package)
    for line in BEFORE:
        run_once(line, patch)
    names: dict[str, Any] = {}
    for kind, text in blocks(page):
        run_block(kind, text, names, patch)


MADE = [(page, text) for page in PAGES for kind, text in blocks(page) if kind == "yaml" and "\ntask:" not in text]
MADE = [
    (page, text) for page, text in MADE if "cost: " not in text
]  # a cost is that of a workload's point: its page runs it
OF_LANGUAGE = [text for _, text in MADE if "\nworkload: my-llm.yaml" in text]
MADE = [(page, text) for page, text in MADE if text not in OF_LANGUAGE]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("page", "text"), MADE, ids=[text.split(":", 1)[0].removeprefix("# ") for _, text in MADE])
def test_every_recipe_of_the_documentation_makes_a_model_that_answers(page: Path, text: str) -> None:
    """Applied, not measured: what a session does with an artifact is the same for all of them."""
    import datasets
    import torch

    from compress import apply

    Path("page.yaml").write_text(text)
    made = Recipe.load("page.yaml")
    words = tokenizer()
    train = datasets.Dataset.from_dict(sentences(64, 1))
    for each in made.orders:
        smaller = apply(each, trained(), words, train)
        with torch.no_grad():
            answer = smaller(**words(["the film was good", "a cold end"], padding=True, return_tensors="pt")).logits
        assert answer.shape == (2, 2), page
        assert torch.isfinite(answer).all(), page


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("text", OF_LANGUAGE, ids=[text.split(":", 1)[0].removeprefix("# ") for text in OF_LANGUAGE])
def test_every_recipe_of_a_language_model_makes_one_that_answers(text: str) -> None:
    import datasets
    import torch

    from compress import apply
    from tests.export import made as language

    pytest.importorskip("xllamacpp")
    Path("page.yaml").write_text(text)
    train = datasets.Dataset.from_dict({"text": language.TEXT})
    recipe = Recipe.load("page.yaml")
    if any(getattr(step, "structure", None) == "vocabulary" for step in recipe.steps):
        with pytest.raises(InputError, match="vocabulary"):  # apply returns no tokenizer; test_vocabulary.py runs it
            apply(recipe, language.llama(), language.tokenizer("smollm"), train)
        return
    smaller = apply(recipe, language.llama(), language.tokenizer("smollm"), train)
    ids = torch.randint(4, 90, (2, 9))
    with torch.no_grad():
        logits = smaller(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    assert logits.shape[:2] == (2, 9)
    assert torch.isfinite(logits).all()


def trained() -> Any:
    """The model of `my-model`."""
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained("my-model")
