"""Sessions whose references contradict one another are not ranked together, and are measured again."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compress.analysis.pareto import group
from compress.analysis.sessions import disagreements
from compress.records import files as result_files
from compress.records.result import Result
from compress.records.stats import Estimate
from compress.report.notes import footnotes
from tests import factory
from tests.helpers import QUICK, compress, read_result


def session_result(name: str, session: str, created: str, bf16: float, **fields: Any) -> Result:
    """A result of a session in which bf16 cost `bf16` times fp32, within 2 %."""
    references = (factory.reference(), factory.reference(factory.BF16, False, bf16))
    return factory.result(name, session=session, created=created, references=references, **fields)


def test_sessions_that_agree_within_their_intervals_share_a_front() -> None:
    table = group(
        [
            session_result("a", "s1", "2025-01-01T00:00:00Z", 0.60, cost=0.5),
            session_result("b", "s2", "2025-01-02T00:00:00Z", 0.61),
        ]
    )[0]
    assert table.disagreements == ()
    assert {"a", "b"} <= table.front


def test_the_older_of_two_contradicting_sessions_is_kept_off_the_front_and_the_table_says_so() -> None:
    old = session_result("a", "s1", "2025-01-01T00:00:00Z", 0.60, cost=0.3)
    table = group([old, session_result("b", "s2", "2025-01-02T00:00:00Z", 0.75)])[0]
    (found,) = table.disagreements
    assert (found.session, found.newest, found.reference, found.names) == ("s1", "s2", factory.BF16, ("a",))
    assert (found.before.value, found.now.value) == (0.60, 0.75)
    assert "a" not in table.front
    assert "b" in table.front
    (note,) = [line for line in footnotes(table) if "beyond their intervals" in line]
    assert note.endswith("measure them together: python -m compress run a b.")


def test_one_session_never_contradicts_itself_and_a_lone_reference_says_nothing() -> None:
    one = [
        session_result("a", "s1", "2025-01-01T00:00:00Z", 0.6),
        session_result("b", "s1", "2025-01-01T00:00:00Z", 0.9),
    ]
    assert disagreements(one, "latency", factory.FP32) == ()
    alone = [factory.result("a", session="s1", created="2025-01-01T00:00:00Z"), factory.result("b", session="s2")]
    assert disagreements(alone, "latency", factory.FP32) == ()


def test_of_three_sessions_only_the_contradicted_one_is_named() -> None:
    three = [
        session_result(n, f"s{n}", f"2025-01-0{n}T00:00:00Z", cost)
        for n, cost in (("1", 0.6), ("2", 0.9), ("3", 0.605))
    ]
    assert [each.session for each in disagreements(three, "latency", factory.FP32)] == ["s2"]


def test_a_run_measures_contradicting_sessions_again_together(workload: Path, tmp_path: Path) -> None:
    for name in ("bert_dense", "bert_bf16"):
        done = compress("run", name, "--workload", workload, *QUICK, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    dense = read_result(tmp_path, "bert_dense")
    half = read_result(tmp_path, "bert_bf16")
    if dense.verdict_reference.name != half.verdict_reference.name:
        pytest.skip("bf16 and fp32 cost about the same on this device: the two runs compare with different references")
    others = [r for r in dense.references if not r.verdict_reference]
    if not others:  # a machine without native bf16: nothing can contradict
        return
    elsewhere = {id(r): _moved(r, dense.verdict_reference.name) for r in others}
    changed = tuple(elsewhere.get(id(r), r) for r in dense.references)
    result_files.write(tmp_path / "results", replace(dense, references=changed))
    done = compress("run", "bert_dense", "bert_bf16", "--workload", workload, *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "so bert_dense, bert_bf16 are measured again, together" in done.stderr
    one, two = (read_result(tmp_path, name) for name in ("bert_dense", "bert_bf16"))
    assert one.session == two.session != dense.session


def _moved(reference: Any, against: str) -> Any:
    """The same reference at fifty times its cost."""

    def far(e: Estimate) -> Estimate:
        return Estimate(50 * e.value, 49 * e.value, 51 * e.value, e.n)

    points = tuple(
        replace(p, ratios=tuple(replace(r, latency=far(r.latency)) if r.reference == against else r for r in p.ratios))
        for p in reference.points
    )
    return replace(reference, points=points)
