"""The paragraphs on the measurement: every setting by value, what was not recorded, and statistics with sources."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from compress.analysis.pareto import Table, group
from compress.records.result import Result
from compress.records.serial import Correlation
from compress.report.heading import heading
from compress.report.paper.estimators import SOURCES, references, statements
from compress.report.paper.protocol import protocol
from compress.spec.measure import PROFILES, Settings
from tests import factory

SETTINGS = Settings(
    profile="publish", rounds=17, precision=0.031, budget_s=423, window_s=0.77, preroll_s=0.13, warmup_s=88,
    points="all", residency="in_turn", halve_batch=True, sessions=4, least_batches=5,
    least_movements=19,
)  # fmt: skip


def one(results: Sequence[Result]) -> Table:
    (table,) = group(list(results))
    return table


def paragraph(results: Sequence[Result]) -> str:
    return " ".join(protocol(one(results)))


def test_rounds_left_out_are_stated_where_there_are_any() -> None:
    plain = factory.result("plain")
    sentence = "3 of 10 rounds are left out: the processor was over 10 % slower in them (its clock was lower)"
    points = tuple(replace(point, grade_reasons=(sentence,)) for point in plain.points)
    assert f"In one session, {sentence}." in paragraph([plain, replace(plain, name="slow", points=points)])
    assert "left out" not in paragraph([plain])


def test_every_setting_is_in_the_paragraph_by_value() -> None:
    written = paragraph([factory.result(settings=SETTINGS, margin="0.3pt", session_spread=0.045)])
    for words in (
        "profile publish", "at least 17 rounds", "half-width of 3.1 %", "or 423 s of the session's rounds are over",
        "windows of 0.77 s",
        "at least 5 batches (with an energy counter, 19 movements)",
        "pre-rolls of 0.13 s", "at most 88 s", "operating points: all",
        "models in memory: in turn", "4 sessions", "where memory ran out, half the batch for all models",
        "Differences within 0.3 points count as equal", "deviation of 4.5 %",
        "Recipes use seed 0.", "Device: Example CPU, 2 cores (cpu); cores 2.",
        "uncertain by a factor of 2.5 either way",
        "Software: compress 0.1.0; torch 2.13.0.",
    ):  # fmt: skip
        assert words in written, words
    named = set(Settings.model_fields)
    assert named == set(SETTINGS.model_dump())  # a new setting needs its words, and a value here
    assert len(named) == 13


def test_the_paragraph_has_the_headings_lines_and_names_rows_whose_settings_differ() -> None:
    table = one([factory.result("a", settings=PROFILES["quick"]), factory.result("b", settings=PROFILES["standard"])])
    written = protocol(table)
    assert written[: len(heading(table))] == [f"{line}." for line in heading(table)]
    (quick,) = [line for line in written if line.endswith(" (a).")]
    (standard,) = [line for line in written if line.endswith(" (b).")]
    assert "at least 15 rounds, until" in quick and "or 90 s of the session's rounds are over" in quick
    assert "profile standard; 6 rounds; windows of 5 s, and of at least 2 batches; pre-rolls" in standard


def test_an_older_result_states_what_it_recorded_and_nothing_of_todays_profiles() -> None:
    recipe = {"steps": [], "measure": {"profile": "quick", "rounds": 8, "window_s": None}}
    written = paragraph([replace(factory.result(), recipe=recipe)])
    assert "Settings that the recipe states: profile quick, rounds 8; version 0.1.0 recorded no others." in written
    assert "0.2 s" not in written and "precision" not in written
    assert "states: none;" in paragraph([factory.result()])


def test_details_of_the_machine_are_listed_without_its_identity() -> None:
    gpu = {"uuid": "GPU-1", "pci": "0:1", "name": "H200", "driver": "580", "power_limit_w": 700.0, "mig": False,
           "processes": [1], "event_reasons": None}  # fmt: skip
    details = {"platform": "Linux", "cpu": {"threads": 2, "flags": ["avx2", "amx_int8"]}, "gpus": [gpu]}
    written = paragraph([factory.result(machine=replace(factory.machine(), details=details))])
    expected = "platform Linux, threads 2, flags avx2 amx_int8, name H200, driver 580, power_limit_w 700.0, mig False."
    assert expected in written and "GPU-1" not in written


def test_commits_and_digests_of_model_and_data_are_named() -> None:
    resolved = {
        "model_revision": "1" * 40,
        "model_content": "1" * 40,
        "dataset_revision": None,
        "dataset_content": "ab12",
    }
    written = paragraph([factory.result(workload={"name": "w", "model": "o/m", "resolved": resolved})])
    assert f"The model is commit {'1' * 40} of the hub. The content of the data has the digest ab12." in written


def test_a_meter_is_named_with_boundary_gain_and_the_lowest_grade() -> None:
    made = factory.result(energy_source="nvml")
    points = tuple(replace(p, energy_boundary="GPU board H200", energy_gain=0.05) for p in made.points)
    written = paragraph([replace(made, points=points)])
    assert (
        "Meter: nvml, of GPU board H200, with a gain error of up to 5 %, which cancels in ratios; energy of" in written
    )
    assert "grade B or better is ranked." in written
    assert "Energy is unknown: no meter on this machine." in paragraph([factory.result(energy_source=None)])


def of_rounds(count: int, sessions: int = 1, **changes: Any) -> Result:
    """Return a result of so many rounds in each of its sessions."""
    made = factory.result()
    first = made.points[0].rounds[0]
    rounds = tuple(replace(first, index=i, session=i % sessions) for i in range(count * sessions))
    ratios = tuple(replace(ratio, **changes) for ratio in made.points[0].ratios)
    return replace(made, points=(replace(made.points[0], rounds=rounds, ratios=ratios),), references=())


BY_ROUNDS = [
    (2, 1, "Fewer than 8 rounds", ()), (7, 3, "Fewer than 8 rounds", ("Cochran 1937",)),
    (8, 1, "Winsorized variance", ("Tukey and McLaughlin 1963", "Yuen 1974")),
    (14, 1, "Winsorized variance", ("Tukey and McLaughlin 1963", "Yuen 1974")),
    (15, 1, "Tukey's biweight, which rejects rounds beyond 4.5 median", ("Mosteller and Tukey 1977", "Kafadar 1982")),
]  # fmt: skip


@pytest.mark.parametrize(("count", "sessions", "words", "sources"), BY_ROUNDS)
def test_the_location_of_rounds_is_that_of_their_number_in_a_session(
    count: int, sessions: int, words: str, sources: tuple[str, ...]
) -> None:
    used = statements(one([of_rounds(count, sessions)]))
    written = [str(each) for each in used]
    locations = [line for line in written if "rounds are averaged" in line]
    assert len(locations) == 1 and words in locations[0]
    named = {name for each in used for name in each.sources}
    assert set(sources) <= named
    every = {name for _, _, _, those in BY_ROUNDS for name in those}
    assert named & every == set(sources)
    assert references(used) == [SOURCES[name] for name in sorted(named)]


def test_only_the_statistics_that_a_table_uses_are_named_and_every_source_is_used_by_some() -> None:
    quick = one([factory.result()])
    assert not any("Holm" in str(each) or "seed" in str(each) for each in statements(quick))
    assert any("adjusted for 9 recipes by Holm's method" in str(each) for each in statements(one(factory.family())))
    perplexity = statements(one([factory.result(accuracy=factory.accuracy(8.0, 0.1, metric="perplexity"))]))
    assert any("intervals of perplexity" in str(each) and "1,000 resamples" in str(each) for each in perplexity)
    correlated = of_rounds(15, 3, correlation=Correlation(0.4, 0.1, 0.5, 2))
    tables = [one(factory.family()), *(one([of_rounds(n)]) for n in (5, 8, 15)), one([correlated])]
    tables.append(one([replace(of_rounds(8, 3), references=(factory.reference(),))]))
    named = {name for table in tables for each in statements(table) for name in each.sources}
    assert named == set(SOURCES)
