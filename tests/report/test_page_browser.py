"""The page in a real browser: what it shows, what a click does, and that no text of a result runs.

Screenshots of all views are kept.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compress.analysis.pareto import group
from compress.report.page import page_html
from tests import browser, factory
from tests.browser import Page, printed, sized
from tests.measured import HOSTILE, measured_results

PHONE_PX = (360, 780)
PAPER_PX = (718, 1000)  # A4 with margins of 1 cm


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages on disk: `measured` with a meter and raw samples, `family` of two machines with modelled energy."""
    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        results = measured_results(patch, folder)
    family = [
        *factory.family(),
        factory.failed(f"bad {HOSTILE}"),
        factory.result("alone", machine=factory.machine("m2")),
    ]
    made = {"measured": group(results), "family": group(family)}
    perplexity = factory.accuracy(12.3, 0.04, metric="perplexity")
    language = factory.reference(accuracy=replace(perplexity, delta=None))
    made["language"] = group([factory.result("llama_int4", 0.6, accuracy=perplexity, references=(language,))])
    old = factory.result("old", 0.3, session="s1", created="2025-05-01T10:00:00+00:00")
    made["sessions"] = group(
        [old, factory.result("new", 0.5, session="s2"), factory.result("newer", 0.6, session="s2")]
    )
    made["failed"] = group([factory.failed(f"bad {HOSTILE}")])
    made["none"] = []
    for name, tables in made.items():
        (folder / f"{name}.html").write_bytes(page_html(tables, folder))
    return {name: folder / f"{name}.html" for name in made}


@pytest.fixture
def page(running: Any, pages: dict[str, Path]) -> Iterator[Page]:
    """The page with a meter; whatever a test does to it, the console stays without errors."""
    yield Page(running, pages["measured"])
    assert browser.severe(running) == []


@pytest.fixture
def family(running: Any, pages: dict[str, Path]) -> Iterator[Page]:
    yield Page(running, pages["family"])
    assert browser.severe(running) == []


def test_the_page_opens_with_its_sentence_chart_and_table(page: Page) -> None:
    drawn_ms = page.ask("return performance.getEntriesByName('page-drawn')[0].startTime")
    print(f"drawn {drawn_ms:.0f} ms after the page was opened")
    assert page.one("h1").text.startswith("No recipe is shown to save energy and to lose at most 1 point.")
    assert "bert_int8 answers with" in page.one("#finding").text
    assert "less energy" in page.one("#finding").text
    assert page.marks() == sorted(page.names())
    assert page.ask("return document.querySelectorAll('#chart .main-svg').length") > 0
    page.keep("light")


def test_a_model_name_with_markup_stays_text(page: Page) -> None:
    assert HOSTILE in page.names()
    page.ask("document.querySelectorAll('details.card').forEach(card => { card.open = true; })")
    page.until("return document.querySelectorAll('.parts').length === document.querySelectorAll('details.card').length")
    assert page.running.title != "run"
    assert page.ask("return document.querySelectorAll('body script:not([type])').length") == 3  # the page's own
    assert page.ask("return [...document.querySelectorAll('b, svg b, svg script')].length") == 0
    drawn = page.ask("return [...document.querySelectorAll('#chart text')].map(t => t.textContent)")
    assert any(text.startswith("<script>") for text in drawn)


def test_a_column_sorts_both_ways_and_says_so(page: Page) -> None:
    page.one("[data-sort='name']").click()
    up = page.names()
    assert up == sorted(up, key=str.casefold)
    assert page.one("th[aria-sort='ascending']").text.startswith("recipe")
    page.one("[data-sort='name']").click()
    assert page.names() == up[::-1]
    page.one("[data-sort='energy_factor']").click()
    assert page.names()[0] == "bert_int8"
    assert page.ask("return document.activeElement.dataset.sort") == "energy_factor"


def test_search_and_filters_hold_for_the_table_and_the_chart(family: Page) -> None:
    family.one("#search").send_keys("prune distill")
    assert family.names() == ["bert_prune_distill_int8"] == family.marks()
    family.one("#search").clear()
    family.one("#search").send_keys("no such row")
    assert family.names() == family.marks() == []


def test_references_and_rows_off_the_front_can_be_left_out(family: Page) -> None:
    for label in ("references", "front only"):
        family.running.find_element("xpath", f"//label[contains(., '{label}')]/input").click()
    assert set(family.names()) == {"bert_prune_distill_int8", "bert_int8", "bert_prune"} == set(family.marks())


def test_methods_and_grades_filter(page: Page) -> None:
    page.choose("method", "quantize")
    assert "bert_int8" in page.names()
    grades = page.ask(
        "return [...document.querySelector(\"select[aria-label='energy grade']\").options].map(o => o.value)"
    )
    assert grades == ["", "B"]
    page.choose("energy grade", "B")
    assert "bert_int8" in page.names()


def test_an_axis_can_be_changed_and_the_front_line_stays_with_its_own(page: Page) -> None:
    line = "return document.getElementById('chart').data.some(t => t.name === 'front')"
    assert page.ask(line)
    page.choose("x axis", "latency")
    page.until("return document.getElementById('chart').layout.xaxis.title.text.startsWith('latency per batch, ms')")
    assert not page.ask(line)
    assert "drawn on those axes only" in page.one("#chart-note").text
    page.choose("y axis", "throughput")
    page.until("return document.getElementById('chart').layout.yaxis.title.text.startsWith('throughput')")


def test_unknown_axes_cannot_be_chosen_and_state_why(family: Page) -> None:
    option = family.one("select[aria-label='x axis'] option[value='energy_factor']")
    assert not option.is_enabled()
    assert "not measured" in option.get_attribute("title")


def test_a_broken_model_is_in_the_table_but_does_not_stretch_the_chart(family: Page) -> None:
    assert "bert_distill" in family.names()
    assert "bert_distill" not in family.marks()
    assert "bert_distill (broken)" in family.one("#chart-note").text


def test_a_row_that_is_chosen_is_ringed_in_the_chart_and_the_other_way_round(page: Page) -> None:
    page.one("tr[data-name='bert_int8'] .name").click()
    ring = "const t = document.getElementById('chart').data.at(-1); return [t.x.length, t.x[0]]"
    page.until("return document.getElementById('chart').data.at(-1).x.length === 1")
    assert page.ask(ring)[1] == pytest.approx(1 / 0.35, rel=0.1)
    assert page.one("tr.chosen .name").get_attribute("aria-pressed") == "true"
    assert "energy per inference" in page.one("#selected").text
    page.ask("document.getElementById('chart').emit('plotly_click', {points: [{customdata: 'bert_prune'}]})")
    assert page.one("tr.chosen").get_attribute("data-name") == "bert_prune"
    page.keep("selected")


def test_the_keyboard_reaches_and_chooses_a_row(page: Page) -> None:
    from selenium.webdriver.common.keys import Keys

    name = page.one("tr[data-name='bert_prune'] .name")
    page.ask("arguments[0].focus()", name)
    name.send_keys(Keys.ENTER)
    assert page.one("tr.chosen").get_attribute("data-name") == "bert_prune"
    assert page.ask("return document.activeElement.closest('tr').dataset.name") == "bert_prune"


def test_a_card_draws_itself_when_it_is_opened(page: Page) -> None:
    assert page.ask("return document.querySelectorAll('.parts').length") == 0
    card = page.one("details.card")
    page.ask("arguments[0].open = true", card)
    page.until("return document.querySelectorAll('details.card .plot .main-svg').length >= 4")
    for words in (
        "Answers that changed", "now wrong", "Energy per inference, round by round", "Break-even",
        "Power and clock of the session", "int8, 8 bit", "fingerprint", "python -m compress run",
    ):  # fmt: skip
        assert words in card.text
    page.keep("card")


def test_both_themes_and_the_charts_follow(page: Page) -> None:
    paper = "return getComputedStyle(document.body).backgroundColor"
    before, colour = page.ask(paper), page.ask("return document.getElementById('chart').layout.font.color")
    page.one("#theme").click()
    assert page.ask(paper) != before
    page.until("return document.getElementById('chart').layout.font.color !== '" + colour + "'")
    assert page.ask("return document.documentElement.dataset.theme") == "dark"
    page.keep("dark")


def test_another_machine_is_another_table(family: Page) -> None:
    devices = family.ask(
        "return [...document.querySelector(\"select[aria-label='device']\").options].map(o => o.value)"
    )
    assert len(devices) == 2
    family.choose("device", devices[1])
    assert [name for name in family.names() if "eager" not in name] == ["alone"]
    assert family.marks() == sorted(family.names())


def test_absolute_costs_of_two_sessions_are_not_ranked_against_each_other(running: Any, pages: dict[str, Path]) -> None:
    page = Page(running, pages["sessions"])
    assert {"old", "new"} <= set(page.marks())  # ratios may be
    page.choose("x axis", "latency")
    assert "old" not in page.marks()
    assert "old (of another session)" in page.one("#chart-note").text
    page.one("[data-sort='latency']").click()
    assert page.names() == ["new", "newer", "fp32 eager", "old"]
    assert "within each session" in page.one("#count").text
    assert browser.severe(running) == []


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("language", "RAISES perplexity by 4.0 %"), ("failed", "Its only recipe failed"),
        ("none", "There are no results to show."),
    ],
)  # fmt: skip
def test_any_table_makes_a_page(running: Any, pages: dict[str, Path], name: str, sentence: str) -> None:
    page = Page(running, pages[name])
    assert sentence in page.one("header").text
    page.one("#theme").click()
    assert browser.severe(running) == []


def test_columns_can_be_chosen(family: Page) -> None:
    family.one("#columns summary").click()
    family.running.find_element("xpath", "//details[@id='columns']//label[contains(., 'peak memory')]/input").click()
    assert "peak memory" in family.one("#table thead").text
    family.keep("family")


def test_a_phone_needs_no_sideways_scrolling(running: Any, pages: dict[str, Path]) -> None:
    with sized(running, *PHONE_PX, phone=True):
        page = Page(running, pages["measured"])
        page.ask("document.querySelector('details.card').open = true")
        page.until("return document.querySelectorAll('details.card .plot .main-svg').length >= 4")
        assert page.ask("return document.documentElement.scrollWidth") <= PHONE_PX[0]
        page.keep("phone")
    assert browser.severe(running) == []


CARDS = """return [...document.querySelectorAll('details.card')].map(card => [
    card.querySelector('.title').textContent,
    Math.min(...['summary', '.parts', '.plot .main-svg', 'pre'].map(part =>
        card.querySelector(part).getBoundingClientRect().height))])"""
RIGHT = """return Math.max(...[...document.querySelectorAll('.plot .main-svg, #chart .main-svg, #table, pre, h1')]
    .map(each => each.getBoundingClientRect().right))"""
HEIGHTS = (
    "return [...document.querySelectorAll('.plot')].map(p => [p.clientHeight, p.querySelector('svg').clientHeight])"
)


def test_printing_shows_the_whole_table_and_every_card_on_white(page: Page) -> None:
    page.one("#theme").click()
    open_cards = "return document.querySelectorAll('details.card[open]').length"
    assert page.ask(open_cards) == 0
    with sized(page.running, *PAPER_PX):
        page.until(f"return document.querySelector('#chart .main-svg').clientWidth < {PAPER_PX[0]}")  # resized late
        with printed(page.running):
            page.until("return document.documentElement.dataset.theme === 'light'")
            assert not page.one("#filters").is_displayed()
            scroll = "return getComputedStyle(document.querySelector('#table-part .scroll')).overflowX"
            assert page.ask(scroll) == "visible"
            cards = page.ask(CARDS)
            assert {title.removeprefix("★ ") for title, _ in cards} == {"bert_int8", "bert_prune", HOSTILE}
            assert all(height > 10 for _, height in cards)
            assert page.ask("return [...document.querySelectorAll('#notes li')].every(each => each.checkVisibility())")
            assert page.ask(RIGHT) <= PAPER_PX[0]
            assert all(box == drawn for box, drawn in page.ask(HEIGHTS))
            page.keep("print")
    page.until("return document.documentElement.dataset.theme === 'dark'")
    assert page.ask(open_cards) == 0
