"""Times of past stages: the same work takes what it took last time, other work in proportion to its size."""

import json
from pathlib import Path

import pytest

from compress.records import pace
from compress.records.pace import Past, estimate


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "stages.jsonl"


def test_stages_are_read_as_they_were_noted(cache: Path) -> None:
    assert pace.read() == []
    noted = [Past("compress", "a", 100, 2.5), Past("models", "b", 7, 0.0)]
    for each in noted:
        pace.note(each)
    assert pace.read() == noted


def test_the_same_work_takes_what_it_took_last_time() -> None:
    past = [Past("compress", "a", 100, 9.0), Past("compress", "b", 100, 1.0), Past("compress", "a", 100, 4.0)]
    assert estimate(past, "compress", "a", 100, guess) == 4.0
    assert pace.is_known(past, "compress", "a", 100) and not pace.is_known(past, "models", "a", 100)
    assert not pace.is_known(past, "compress", "a", 101)  # another model under this name


def guess(size: int) -> float:
    return 10 + 0.5 * size


def test_other_work_takes_its_guess_times_what_the_newest_stages_of_its_kind_took_of_theirs() -> None:
    past = [Past("compress", "old", 1, 1e6), Past("models", "m", 10, 500.0)]
    past += [Past("compress", f"{i}", 10, seconds) for i, seconds in enumerate((15.0, 30.0, 45.0, 1500.0, 60.0))]
    # guessed 15 s each: 1, 2, 3, 100 and 4 times; the new one is guessed as 110 s
    assert estimate(past, "compress", "new", 200, guess) == pytest.approx(3.0 * 110)
    assert estimate(past, "references", "new", 200, guess) == 110


DAMAGED = {
    "no JSON": "{",
    "a list": "[1]",
    "without seconds": json.dumps({"stage": "compress", "key": "a", "size": 1}),
    "seconds below 0": json.dumps({"stage": "compress", "key": "a", "size": 1, "seconds": -1}),
    "seconds without end": '{"stage": "compress", "key": "a", "size": 1, "seconds": Infinity}',
    "size 0": json.dumps({"stage": "compress", "key": "a", "size": 0, "seconds": 1}),
    "text for a number": json.dumps({"stage": "compress", "key": "a", "size": "much", "seconds": 1}),
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("line", DAMAGED.values(), ids=DAMAGED)
def test_lines_that_hold_no_stage_are_left_out(line: str, cache: Path) -> None:
    pace.note(Past("compress", "a", 1, 1.0))
    with cache.open("a", encoding="utf-8") as out:
        out.write(line + "\n\xff\n")
    assert pace.read() == [Past("compress", "a", 1, 1.0)]


def test_the_file_keeps_the_newest_lines(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "MOST_LINES", 3)
    for number in range(10):
        pace.note(Past("compress", str(number), 1, 1.0))
    assert [past.key for past in pace.read()] == ["7", "8", "9"]
    assert len(cache.read_text().splitlines()) <= 6


def test_a_cache_that_cannot_be_written_costs_nothing_but_the_estimate(cache: Path) -> None:
    cache.parent.write_text("a file where the folder should be")
    pace.note(Past("compress", "a", 1, 1.0))
    assert pace.read() == []
