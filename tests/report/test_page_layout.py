"""The page as it is rendered, of results that were measured, in a window of 1400 pixels and on a phone of 390."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compress.analysis.pareto import group
from compress.analysis.reading import read_all
from compress.records.files import write
from compress.report.page import page_html
from tests import browser, factory
from tests.browser import Page, sized
from tests.helpers import ROOT

REFERENCE = ROOT / "results" / "reference"
FOLDERS = {"minilm": "minilm-sst2", "amx": "amx/validation", "gpu": "gpu"}
SIZES_PX = {"desk": (1400, 1000, False), "phone": (390, 844, True)}
TOUCH_PX = 1.0  # of rounding in the browser
NEAR_PX = 20.0
LABELS = """return [...document.querySelectorAll('#chart .annotation-text')].map(text => {
    const box = text.getBoundingClientRect();
    return [text.textContent, box.left, box.top, box.right, box.bottom]; })"""
PLOT = "const box = document.querySelector('#chart .nsewdrag').getBoundingClientRect();"
FRAME = PLOT + "return [box.left, box.top, box.right, box.bottom]"
MARKS = (
    PLOT
    + """const chart = document.getElementById('chart'), {xaxis, yaxis} = chart._fullLayout;
    return chart.data.flatMap(trace => (trace.customdata || []).map((name, i) =>
        [name, box.left + xaxis.d2p(trace.x[i]), box.top + yaxis.d2p(trace.y[i])]))"""
)
ARROWS = "return document.querySelectorAll('#chart .annotation-arrow-g').length"
Box = tuple[float, float, float, float]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages of the reference results, and of a family of recipes one of which has its model here."""
    folder = tmp_path_factory.mktemp("pages")
    rows = factory.family()
    stored = factory.stored(folder / "model")
    rows[2] = factory.result("bert_int8", 0.451, 0.0, half=0.004, limit=None, **stored)
    write(folder, rows[2])
    tables = {name: group(read_all(REFERENCE / place)[0]) for name, place in FOLDERS.items()}
    tables["family"] = group([*rows, factory.failed("bad", workload={"name": "a first", "model": "m"})])
    tables["limited"] = group([factory.result("a", limit=20), factory.result("b", limit=20)])
    for name, made in tables.items():
        traces = REFERENCE / FOLDERS[name] if name in FOLDERS else folder
        (folder / f"{name}.html").write_bytes(page_html(made, traces))
    return {name: folder / f"{name}.html" for name in tables}


@pytest.fixture(params=SIZES_PX)
def size(request: pytest.FixtureRequest, running: Any) -> Iterator[str]:
    with sized(running, *SIZES_PX[request.param]):
        yield request.param
    assert browser.severe(running) == []


@pytest.fixture
def desk(running: Any) -> Iterator[Any]:
    with sized(running, *SIZES_PX["desk"]):
        yield running
    assert browser.severe(running) == []


def apart(one: Box, other: Box) -> bool:
    return (
        one[2] <= other[0] + TOUCH_PX
        or other[2] <= one[0] + TOUCH_PX
        or one[3] <= other[1] + TOUCH_PX
        or other[3] <= one[1] + TOUCH_PX
    )


def distance_px(box: Box, x: float, y: float) -> float:
    """From a position to the nearest one in a box."""
    across, down = max(box[0] - x, 0, x - box[2]), max(box[1] - y, 0, y - box[3])
    return float((across**2 + down**2) ** 0.5)


@pytest.mark.parametrize("name", FOLDERS)
def test_every_point_has_a_name_that_covers_nothing_and_stays_inside(
    running: Any, pages: dict[str, Path], size: str, name: str
) -> None:
    page = Page(running, pages[name])
    labels = [(text, tuple(box)) for text, *box in page.ask(LABELS)]
    marks = {mark: (x, y) for mark, x, y in page.ask(MARKS)}
    left, top, right, bottom = page.ask(FRAME)
    assert sorted(text for text, _ in labels) == page.marks() and len(marks) >= 7
    for number, (text, box) in enumerate(labels):
        assert left - TOUCH_PX <= box[0] and box[2] <= right + TOUCH_PX, f"{text} leaves the plot sideways"
        assert top - TOUCH_PX <= box[1] and box[3] <= bottom + TOUCH_PX, f"{text} leaves the plot"
        for other, its in labels[:number]:
            assert apart(box, its), f"{text} overlaps {other}"
        for mark, (x, y) in marks.items():
            assert distance_px(box, x, y) > 0, f"{text} covers the point of {mark}"
    far = [text for text, box in labels if distance_px(box, *marks[text]) > NEAR_PX]
    assert page.ask(ARROWS) >= len(far)
    page.keep(f"{name}-{size}")


def test_costs_are_factors_and_the_switch_shows_ratios(desk: Any, pages: dict[str, Path]) -> None:
    page = Page(desk, pages["family"])
    cells = "return [...document.querySelector(`tr[data-name='${arguments[0]}']`).cells].map(c => c.innerText)"
    assert page.one("th [data-sort='latency_factor']").text == "speed"
    assert "2.2x faster\n(2.17 to 2.26)" in page.ask(cells, "bert_int8")
    assert "1.31x slower\n(1.28 to 1.34)" in page.ask(cells, "bert_int4")
    ticks = "return [...document.querySelectorAll('#chart .xtick text')].map(t => t.textContent)"
    assert all(tick.endswith("x") for tick in page.ask(ticks))
    drawn = "return document.getElementById('chart').layout.xaxis.title.text"
    assert page.ask(drawn) == "latency: times faster than fp32 eager (right is better)"
    page.running.find_element("xpath", "//label[contains(., 'ratios')]/input").click()
    page.until(f'{drawn} === "latency / fp32 eager\'s (left is better)"')
    assert "0.451\n(0.442 to 0.460)" in page.ask(cells, "bert_int8")
    assert not any("faster" in cell for cell in page.ask(cells, "bert_int8"))


def test_the_first_click_on_a_factor_puts_the_cheapest_first(desk: Any, pages: dict[str, Path]) -> None:
    page = Page(desk, pages["family"])
    page.one("[data-sort='latency_factor']").click()
    assert page.names()[0] == "bert_prune_distill_int8"


@pytest.mark.parametrize("name", FOLDERS)
def test_the_chart_shows_the_accuracy_itself(desk: Any, pages: dict[str, Path], name: str) -> None:
    page = Page(desk, pages[name])
    chart = "document.getElementById('chart')"
    assert page.ask(f"return {chart}.layout.yaxis.title.text") == "accuracy (up is better)"
    assert all(0.8 < y < 1 for y in page.ask(f"return {chart}.data.flatMap(t => t.customdata ? t.y : [])"))
    assert "Bars of accuracy are those of the paired difference to" in page.one("#chart-note").text


@pytest.mark.parametrize("name", [*FOLDERS, "family"])
def test_no_column_is_cut_in_a_window_of_1400_pixels(desk: Any, pages: dict[str, Path], name: str) -> None:
    page = Page(desk, pages[name])
    cells = "[...document.querySelectorAll('#table tr > *')]"
    right = f"return Math.max(...{cells}.map(cell => cell.getBoundingClientRect().right))"
    edge = "return document.querySelector('#table-part .scroll').getBoundingClientRect().right"
    assert page.ask(right) <= page.ask(edge) + TOUCH_PX <= SIZES_PX["desk"][0]
    assert page.ask("return document.documentElement.scrollWidth") <= SIZES_PX["desk"][0]


@pytest.mark.parametrize("name", [*FOLDERS, "family"])
def test_a_phone_shows_the_cost_of_every_row(running: Any, pages: dict[str, Path], name: str) -> None:
    with sized(running, *SIZES_PX["phone"]):
        page = Page(running, pages[name])
        edges = page.ask("""return [...document.querySelectorAll('#table tr')].map(row => {
            const box = row.cells[1].getBoundingClientRect();
            return [box.left, box.right, row.cells[1].innerText]; })""")
        panel = page.ask("return document.querySelector('#table-part .scroll').getBoundingClientRect().right")
        assert page.ask("return document.documentElement.scrollWidth") <= SIZES_PX["phone"][0]
    words = {text.split()[1] for *_, text in edges[1:] if "x " in text}
    assert edges[0][2] == "speed" and words and words <= {"faster", "slower"}
    assert all(0 <= left < right <= panel <= SIZES_PX["phone"][0] for left, right, _ in edges)
    assert browser.severe(running) == []


def test_a_card_has_no_defaults_and_repeats_nothing(desk: Any, pages: dict[str, Path]) -> None:
    page = Page(desk, pages["minilm"])
    (card,) = (card for card in page.running.find_elements("css selector", "details.card")
               if card.find_element("css selector", ".title").text == "★ bert_int8")  # fmt: skip
    page.ask("arguments[0].open = true", card)
    page.until("return document.querySelectorAll('.parts').length === 1")
    blocks = [block.text for block in card.find_elements("css selector", "pre")]
    assert blocks[0] == 'steps:\n  - {"method": "quantize"}\nmeasure: {"rounds": 8, "warmup_s": 30.0}'
    row = page.ask("return DATA.tables[0].rows.find(row => row.name === 'bert_int8')")
    for sentence in (row["says"], "not recorded by this version", "texts were", "computed again by the rules"):
        assert card.text.count(sentence) <= 1
    assert card.text.count(row["says"]) == 1
    lines = [line for line in card.text.splitlines() if len(line) > 40]
    assert len(lines) == len(set(lines))


def test_notes_are_folded_in_groups_and_loud_ones_are_not(desk: Any, pages: dict[str, Path]) -> None:
    page = Page(desk, pages["limited"])
    groups = page.running.find_elements("css selector", "#notes details")
    assert [each.get_attribute("data-group") for each in groups] == ["warnings", "method", "data"]
    assert [each.text.split(" (")[0] for each in groups] == ["Warnings", "Method", "Data"]  # folded: its title only
    assert "LIMITED: judged on 20 test examples only" in page.one("#loud").text


def test_an_error_of_memory_stands_once_on_the_page(desk: Any, pages: dict[str, Path]) -> None:
    error = "Cannot re-initialize CUDA in forked subprocess"
    assert pages["gpu"].read_text(encoding="utf-8").count(error) == 1
    page = Page(desk, pages["gpu"])
    page.ask("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    page.one("#table tbody .name").click()
    page.until("return document.querySelectorAll('.parts').length === document.querySelectorAll('details.card').length")
    assert page.one("body").text.count(error) == 1
    assert page.one("#notes [data-group='warnings']").text.count(error) == 1


def test_the_recommendation_is_on_top_with_lines_to_copy(desk: Any, pages: dict[str, Path]) -> None:
    page = Page(desk, pages["family"])
    assert page.one("h1").text.startswith(
        "Recommended: bert_int8. It is 2.2x faster than fp32 eager (2.13 to 2.31 adjusted) and loses at most 1 point"
    )  # Bonferroni for 9 recipes, t of 4 degrees of freedom: 1 / 0.451 times exp(-0.0392) and exp(0.0392)
    top = "return document.querySelector(arguments[0]).getBoundingClientRect().top"
    assert page.ask(top, "h1") < page.ask(top, "#use") < page.ask(top, ".first") < SIZES_PX["desk"][1]
    code, command = (block.text for block in page.running.find_elements("css selector", "#use pre"))
    model = pages["family"].parent / "model"
    assert code == f'from compress import load\nmodel, processor = load("{model}")'
    assert command == f"python -m compress card {model.parent / 'stdlib-bert' / 'bert_int8-m1.json'}"
    page.one("#use .copy").click()
    page.until("return document.querySelector('#use .copy').textContent !== 'Copy'")
    if page.one("#use .copy").text == "Selected":  # a browser that refuses the clipboard
        assert page.ask("return window.getSelection().toString()").strip() == code


def test_a_workload_with_nothing_but_a_failed_run_is_not_shown_first(desk: Any, pages: dict[str, Path]) -> None:
    page = Page(desk, pages["family"])
    assert page.one("#where").text.startswith("stdlib-bert on ")
    page.choose("workload", "a first")
    assert page.one("h1").text == "Its only recipe failed; bad: steps.0: no kernel for this shape."
