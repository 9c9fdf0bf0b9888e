"""The documentation's site: it builds, leads somewhere, fetches nothing, and says what code and results say."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from compress.analysis.among import read_among
from compress.cli import app
from compress.spec.steps import STEPS
from tests.helpers import ROOT, environment

pytest.importorskip("mkdocs", reason="the documentation's packages are not here; install the extra docs")
DOCS = ROOT / "docs"
MOST_LINES = 150
"""A README is read in two minutes."""
LINK = re.compile(r"\]\(([^()\s]+)\)")
FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
"""Tags whose address a browser fetches by itself."""


def build(config: Path, site: Path) -> "subprocess.CompletedProcess[str]":
    """`mkdocs build` of a configuration into a folder. Never with --quiet: then warnings do not stop it."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(config), "-d", str(site)]
    env = {**environment(), "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=env)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("documentation") / "site"
    done = build(ROOT / "mkdocs.yml", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module that replaces markers."""
    monkeypatch.syspath_prepend(str(DOCS / "hooks"))
    import generated

    yield generated
    for name in ("generated", "drawn", "rooms"):
        sys.modules.pop(name, None)


def text_of(page: Path) -> str:
    """What a page says, without tags."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8"))))


def test_every_page_is_built(site: Path) -> None:
    pages = {page.relative_to(DOCS).with_suffix(".html") for page in DOCS.rglob("*.md")}
    assert len(pages) > 30
    assert all((site / page).is_file() for page in pages)
    assert not (site / "hooks").exists()


def test_a_link_or_an_anchor_that_leads_nowhere_stops_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# One\n\n[a](two.md#nowhere) [b](three.md)\n")
    (tmp_path / "docs" / "two.md").write_text("# Two\n")
    config = tmp_path / "mkdocs.yml"
    config.write_text(
        f"INHERIT: {os.path.relpath(ROOT / 'mkdocs.yml', tmp_path)}\n"
        "docs_dir: docs\nhooks: []\nplugins: []\nnav: [index.md, two.md]\n"
    )
    done = build(config, tmp_path / "site")
    assert done.returncode != 0
    assert "#nowhere" in done.stderr
    assert "three.md" in done.stderr


def test_no_page_fetches_anything_from_the_network(site: Path) -> None:
    found: list[str] = []

    class Fetching(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            address = dict(attrs).get(FETCHED.get(tag, ""), "") or ""
            if address.startswith(("http:", "https:", "//")):
                found.append(f"{tag} {address}")

    for page in site.rglob("*.html"):
        Fetching().feed(page.read_text(encoding="utf-8"))
    for sheet in site.rglob("*.css"):
        found += re.findall(r"(?:url\(|@import\s)['\"]?(?:https?:)?//[^)'\"]+", sheet.read_text(encoding="utf-8"))
    assert not found


def test_no_marker_is_left(site: Path, hooks: ModuleType) -> None:
    left = re.compile(rf"<!--\s*({'|'.join(hooks.MARKERS)})\b")
    assert not [page.name for page in site.rglob("*.html") if left.search(page.read_text(encoding="utf-8"))]


WRONG = (
    "field: prune", "fields: prune no_such", "recipe: no_such", "measured: no_such", "recipes: no_such",
    "session: no_such", "formats: int5", "picture: no_such Words.",
)  # fmt: skip


@pytest.mark.parametrize("words", WRONG)
def test_a_marker_that_names_what_does_not_exist_stops_the_build(words: str, hooks: ModuleType) -> None:
    page: Any = SimpleNamespace(file=SimpleNamespace(src_uri="methods/page.md"))
    with pytest.raises((ValueError, KeyError)):
        hooks.on_page_markdown(f"<!-- {words} -->", page=page)


def test_every_field_of_every_step_stands_on_a_page_of_the_methods(site: Path) -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in (site / "methods").glob("*.html"))
    for step in STEPS:
        for name in step.model_fields:
            assert name == "method" or f"<code>{name}</code>" in pages, f"{step.__name__}.{name}"


def test_every_command_stands_on_its_page(site: Path) -> None:
    page = text_of(site / "commands.html")
    for command in app.registered_commands:
        assert command.callback is not None
        assert (command.callback.__doc__ or "").strip() in page


QUOTED = (
    ("int8", "minilm-sst2/bert_int8"),
    ("int8", "test-split/minilm-sst2/bert_int8"),
    ("int8", "amx/validation/minilm-sst2/bert_int8"),
    ("magnitude", "minilm-sst2/bert_sparse"),
)


@pytest.mark.parametrize(("page", "result"), QUOTED)
def test_measured_examples_are_the_results_own(site: Path, page: str, result: str) -> None:
    (file,) = (ROOT / "results" / "reference").glob(f"{result}-*.json")
    found = read_among(file).result  # as its table states it
    assert found.verdict is not None
    assert found.headline is not None
    assert found.verdict_reference is not None
    ratio = found.headline.ratio(found.verdict_reference.name)
    assert ratio is not None
    said = text_of(site / "methods" / f"{page}.html")
    assert found.verdict.sentence in said
    assert f"{ratio.latency.value:.3g} (" in said
    assert file.relative_to(ROOT).as_posix() in said


def test_pages_name_no_figure_of_the_results_by_hand() -> None:
    """Ratios, accuracies and verdicts come from markers: a number with an interval is never typed."""
    typed = re.compile(r"\d \([+-]?[\d.]+ to [+-]?[\d.]+\)|\b(SAVES|LOSES) \d")
    assert not [page.name for page in DOCS.rglob("*.md") if typed.search(page.read_text(encoding="utf-8"))]


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


WRITTEN = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]


@pytest.mark.parametrize("page", WRITTEN, ids=[str(page.relative_to(ROOT)) for page in WRITTEN])
def test_every_link_inside_the_repository_resolves(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        if path.startswith(("http:", "https:")):
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_architecture_names_rooms_and_files_that_exist(hooks: ModuleType) -> None:
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(hooks.rooms.order())
    named = set(re.findall(r"`([\w/]+(?:\.py|/))`", page))
    assert len(named) > 20
    for name in named:
        assert (ROOT / name).exists() or (ROOT / "compress" / name).exists(), name


def test_the_picture_of_the_rooms_has_every_room_and_every_import(hooks: ModuleType) -> None:
    found = hooks.rooms.arrows(hooks.rooms.order())
    drawn = hooks.rooms.draw()
    assert all(f">{room}</text>" in drawn for room in found)
    assert drawn.count("marker-end") == sum(map(len, found.values())) > 30


def test_arrows_that_a_chain_replaces_are_not_direct(hooks: ModuleType) -> None:
    assert hooks.rooms.direct({"a": set(), "b": {"a"}, "c": {"a", "b"}}) == {"a": set(), "b": {"a"}, "c": {"b"}}
