"""The share of the physical limit: its arithmetic, its words, older results, and a planted wrong share."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from compress.analysis.limit import ABOVE, of_the_limit
from compress.analysis.pareto import group
from compress.records import files
from compress.records.limit import MEMORY, Limit
from compress.records.stats import Estimate
from compress.report.describe import describe
from compress.report.document import markdown
from compress.report.page.data import page_data
from compress.report.row_notes import row_notes
from compress.report.sheet import records
from compress.report.table import print_tables
from tests.factory import point, result

DECODE = Limit({MEMORY: 0.28e9}, {MEMORY: 14.2e9})
PREFILL = Limit({"float32": 20e9, "int8": 40e9}, {"float32": 100e9, "int8": 400e9})


def test_the_share_is_the_shortest_possible_time_over_the_latency_with_its_interval() -> None:
    share = PREFILL.share(Estimate(0.6, 0.5, 0.75, 7))
    assert PREFILL.least_s == pytest.approx(0.2 + 0.1)
    assert share is not None and share.n == 7
    assert (share.value, share.low, share.high) == pytest.approx((0.5, 0.4, 0.6))


@pytest.mark.parametrize(
    "fields",
    [{"work": {MEMORY: 1.0}}, {"per_second": {MEMORY: 1.0}}, {}, {**vars(DECODE), "reason": "why"}],
    ids=["no limit", "no work", "nothing", "both"],
)
def test_work_without_a_limit_and_neither_work_nor_a_reason_are_refused(fields: dict) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match="most per second"):
        Limit(**fields)


OF_MEMORY = "at this machine's 14.2 GB/s that takes 31 % of the measured latency"


@pytest.mark.parametrize(
    ("limit", "phase", "batch", "latency_s", "sentence"),
    [
        (
            DECODE,
            "decode",
            1,
            0.0636,
            f"decode reads 0.28 GB a token; {OF_MEMORY}",
        ),
        (
            DECODE,
            "decode",
            8,
            0.0636,
            f"decode reads 0.28 GB a step; {OF_MEMORY}",
        ),
        (
            replace(DECODE, in_cache=True),
            "decode",
            1,
            0.2,
            "decode reads 0.28 GB a token; at this machine's 14.2 GB/s (fits in the cache) that takes 9.9 % of the "
            "measured latency",
        ),
        (
            PREFILL,
            "prefill",
            1,
            0.6,
            "prefill computes 60 billion operations a prompt; at this machine's 100 billion operations/s in float32 "
            "and 400 billion operations/s in int8 that takes 50 % of the measured latency",
        ),
        (
            Limit({"float32": 2e9}, {"float32": 1e11}),
            None,
            8,
            0.05,
            "a pass computes 2 billion operations a batch; at this machine's 100 billion operations/s in float32 that "
            "takes 40 % of the measured latency",
        ),
        (Limit(reason="no product"), None, 8, 0.05, "share of the limit unknown: no product"),
    ],
)
def test_the_sentence_names_the_work_the_share_and_the_limit(
    limit: Limit, phase: str | None, batch: int, latency_s: float, sentence: str
) -> None:
    made = replace(point(latency_s=latency_s, batch_size=batch, limit=limit), phase=phase)  # type: ignore[arg-type]
    assert of_the_limit(made) == sentence


def with_limit(limit: Limit | None, latency_s: float = 0.0636):  # type: ignore[no-untyped-def]
    made = result()
    assert made.headline is not None
    headline = replace(made.headline, latency_s=Estimate(latency_s, latency_s, latency_s, 5), limit=limit)
    return replace(made, points=(headline,))


def test_a_result_keeps_its_limit_in_its_file_and_an_older_one_has_no_share(tmp_path: Path) -> None:
    place = tmp_path / "bert.json"
    for limit in (DECODE, Limit(reason="no product"), None):
        files.replace_file(place, with_limit(limit))
        assert ("limit" in json.loads(place.read_text())["points"][0]) == (limit is not None)
        (read,) = files.read(place).points
        assert read.limit == limit
        assert (read.limit_share is None) == (limit is not DECODE)
    older = with_limit(None)
    assert not any("at this machine's" in line or "share of the limit" in line for line in describe(older))
    assert all(line["limit_share"] is None for line in records(group([older])))


def test_show_csv_and_page_have_the_share() -> None:
    made = with_limit(DECODE)
    assert any("0.28 GB" in line and "31 %" in line for line in describe(made))
    line = next(line for line in records(group([made])) if line["kind"] == "recipe")
    assert line["limit_share"] == pytest.approx(0.28 / 14.2 / 0.0636)
    assert (line["read_bytes_per_batch"], line["operations_per_batch"]) == (0.28e9, None)
    assert line["limit_of"] == "memory 1.42e+10/s"
    (table,) = page_data(group([made]), None)["tables"]
    assert any(axis["key"] == "limit" and axis["unit"] == "%" for axis in table["axes"])


@pytest.mark.parametrize(("width", "shown"), [(80, False), (120, False), (207, False), (208, True), (260, True)])
def test_a_wide_terminal_has_the_share_and_a_narrow_one_names_the_file_that_has_it(width: int, shown: bool) -> None:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    print_tables(group([with_limit(DECODE)]), console)
    out = console.file.getvalue()  # type: ignore[attr-defined]
    assert ("31 %" in out) == shown
    assert ("every column is in pareto.md" in out) == (not shown)
    assert max(map(len, (line for line in out.splitlines() if line.startswith("│")))) <= width


def test_the_document_has_a_column_if_any_row_has_a_share() -> None:
    document = markdown(group([with_limit(DECODE), replace(with_limit(Limit(reason="no product")), name="other")]))
    header, _, *lines = [line for line in document.splitlines() if line.startswith("|")]
    column = [cell.strip() for cell in header.split("|")].index("share of the physical limit")
    cells = {line.split("|")[2].strip(): line.split("|")[column].strip() for line in lines}
    assert next(cell for name, cell in cells.items() if "bert_int8" in name) == "31 %"
    assert next(cell for name, cell in cells.items() if "other" in name) == "—"
    assert "physical limit" not in markdown(group([with_limit(Limit(reason="no product"))]))


def test_a_share_over_100_percent_is_a_warning() -> None:
    planted = with_limit(DECODE, latency_s=0.01)
    assert any(ABOVE in line for line in describe(planted))
    (table,) = group([planted])
    assert any(note.group == "warnings" and ABOVE in note.text and "197 %" in note.text for note in row_notes(table))
    (honest,) = group([with_limit(DECODE)])
    assert not any(ABOVE in note.text for note in row_notes(honest))


def test_a_limit_measured_beside_other_processes_has_a_remark() -> None:
    made = point(limit=replace(DECODE, disturbed=True))
    assert "may be too low" in (of_the_limit(made) or "")
