"""Tables and pictures: what they say, what they must not let through."""

import csv
import io
import math
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from compress.analysis.pareto import Table, group
from compress.records.stats import Estimate
from compress.report import print_tables, text
from compress.report.charts import canvas
from compress.report.charts.panel import panels
from compress.report.charts.plot import PICTURES, picture, pictures
from compress.report.describe import describe
from compress.report.document import markdown
from compress.report.heading import heading
from compress.report.html import result_html
from compress.report.notes import footnotes
from compress.report.sheet import csv_text, safe
from compress.report.table import rows
from compress.report.write import Writer
from compress.spec.recipe import Recipe
from tests import factory

DISTURBED = tuple(replace(p, unreliable=("the device throttled",)) for p in factory.reference().points)
SPOILED = replace(factory.reference(), points=DISTURBED)
HOSTILE = "a|b`c`<script>[x](y)[bold]$x_{$\n\x1b[31m=1+1"


def table_lines(document):
    return [line for line in document.splitlines() if line.startswith("| ")]


def printed_tables(results, width=180):
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    print_tables(group(results), console)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("value", "count", "said"),
    [
        (12.345, 3, "12.3"), (0.04567, 3, "0.0457"), (1234.5, 3, "1,230"), (0.9996, 3, "1.00"), (99.96, 3, "100"),
        (0, 3, "0"), (1234, 2, "1,200"), (-0.5, 2, "-0.50"), (float("inf"), 3, "∞"), (1.5e-9, 2, "1.5e-09"),
    ],
    ids=str,
)  # fmt: skip
def test_digits_are_significant(value, count, said):
    assert text.digits(value, count) == said


def written(tables: list[Table], out: Path) -> list[Path]:
    """All files of these tables."""
    with Writer() as writer:
        writer.draw(tables)
        writer.bind(out)
        return writer.write(out)


def test_units_are_scaled_only_here():
    assert text.latency(factory.near(0.0123, 0.1)) == ("12.3 ms", "(11.1 to 13.5)")
    assert text.energy(factory.near(0.0123, 0.1), "rapl") == ("12.3 mJ", "(11.1 to 13.5)")
    assert text.megabytes(23_100_000, 92_400_000) == ("23.1 MB", "(0.25x)")


def test_modelled_energy_has_a_tilde_and_two_digits():
    assert text.energy(factory.near(0.0123), "modelled") == ("~12 mJ",)


def test_unknown_is_a_dash_never_zero():
    assert text.energy(None, None) == text.latency(None) == text.megabytes(None) == ("—",)


def test_rows_are_sorted_by_cost_with_references_below():
    document = markdown(group(factory.family()))
    names = [line.split("|")[2].strip(" *") for line in table_lines(document)[2:]]
    assert names == [
        "bert_prune_distill_int8", "bert_int8", "bert_distill", "bert_bf16", "bert_prune", "bert_lowrank", "bert_dense",
        "bert_sparse", "bert_int4", "reference: fp32 eager", "reference: bf16 eager", "reference: fp32 onnxruntime",
    ]  # fmt: skip


def test_every_line_of_a_markdown_table_has_the_same_columns():
    lines = table_lines(markdown(group(factory.family())))
    assert len({line.count("|") for line in lines}) == 1


def test_the_star_is_on_the_front_and_nowhere_else():
    lines = table_lines(markdown(group(factory.family())))
    starred = [line.split("|")[2].strip(" *") for line in lines if "★" in line.split("|")[1]]
    assert starred == ["bert_prune_distill_int8", "bert_int8", "bert_prune", "reference: bf16 eager"]


def test_every_verdict_is_spelled_out_with_accuracy_and_cause():
    document = markdown(group(factory.family()))
    assert "bert_int8: SAVES 60 % of the latency" in document
    assert "compression alone takes 0.48 times the latency of fp32 onnxruntime (0.47 to 0.49)" in document
    assert "zeros are stored and multiplied" in document


def test_both_ratios_are_shown_where_verdicts_are_against_half_precision():
    fp32 = replace(factory.reference(verdict=False, cost=2.0, to=factory.BF16))
    bf16 = factory.reference(factory.BF16, True)
    made = factory.result("int8", 0.25, references=(fp32, bf16), ratios=(factory.ratio(factory.BF16, 0.5),))
    cells = rows(group([made])[0])[0].cells
    assert cells["latency / ref"][0] == "0.500"
    assert cells["latency / fp32"][0] == "0.250"
    one = rows(group([factory.result()])[0])[0].cells
    assert "latency / fp32" not in one  # it would be the same column twice


def test_a_metered_table_ranks_energy_and_shows_its_ratio():
    table = group(factory.family(energy_source="rapl"))[0]
    assert table.axis == "energy"
    assert rows(table)[0].cells["energy / ref"][0] == "0.310"
    assert not any("front is accuracy against latency" in note for note in footnotes(table))


def test_a_modelled_table_says_why_its_front_is_latency():
    table = group(factory.family())[0]
    assert table.axis == "latency"
    assert any("front is accuracy against latency, because energy is only modelled" in n for n in footnotes(table))
    perplexity = [factory.result(accuracy=factory.accuracy(12.0, 0.01, 0.001, metric="perplexity"))]
    assert any("front is perplexity against latency" in note for note in footnotes(group(perplexity)[0]))
    assert "energy / ref" not in rows(table)[0].cells


def test_measured_energy_states_meter_boundary_grade_and_resolution():
    def covering(result):
        points = tuple(replace(p, energy_boundary="GPU board H200", energy_gain=0.05) for p in result.points)
        return replace(result, points=points)

    results = [covering(factory.result(name, energy_source="nvml")) for name in ("a", "b")]
    notes = "\n".join(footnotes(group(results)[0]))
    assert "Energy by nvml, of GPU board H200. Grades: B: a, b" in notes
    assert "gain error of up to 5 %; it cancels in ratios" in notes
    assert "can detect is 3 to 3 % of a row's energy" in notes


def test_missing_energy_gives_its_reason_as_a_footnote():
    table = group([factory.result(energy_source=None)])[0]
    assert rows(table)[0].cells["energy"] == ("—",)
    assert any("no energy: no meter on this machine (bert_int8, fp32 eager)" in note for note in footnotes(table))


def test_heading_names_workload_machine_point_examples_date_and_session():
    whole = "\n".join(heading(group([factory.result()])[0]))
    for part in ("stdlib-bert", "batch 8 x length 64", "872 test examples", "2025-05-05", "s1", "fp32 eager"):
        assert part in whole
    assert "m1" in markdown(group([factory.result()]))


def test_a_run_that_failed_before_its_session_names_none():
    failed = factory.failed(session="")
    lines = heading(group([failed])[0])
    assert f"Measured: {failed.created}" in lines and not any("session" in line for line in lines)
    both = "\n".join(heading(group([factory.result(), replace(failed, name="other")])[0]))
    assert "; session s1" in both and "sessions" not in both


def test_one_step_and_one_layer_are_counted_as_one():
    made = factory.result()
    one = replace(made.transform, steps=(replace(made.transform.steps[0], changed_layers=1),))
    lines = list(describe(replace(made, transform=one)))
    assert "compressing took 12.0 s in 1 step" in lines and "  quantize: 1 layer in 12.0 s" in lines
    assert "  quantize: 36 layers in 12.0 s" in describe(made)


def test_the_heading_of_a_task_of_lm_eval_names_the_task_and_its_examples():
    plain = factory.result()
    dataset = {"path": "my-texts", "test": "test.txt"}
    made = replace(
        plain,
        workload={**plain.workload, "dataset": dataset, "metric": "lm_eval:arc_easy"},
        accuracy=replace(plain.accuracy, variant="lm_eval arc_easy, acc_norm"),
    )
    whole = "\n".join(heading(group([made])[0]))
    named = "data my-texts for timing and calibration, evaluated on lm_eval arc_easy, acc_norm (872 examples)"
    assert named in whole and "test.txt" not in whole
    assert "always giving the most frequent answer gives 0.510" in whole
    own = replace(made, workload={**made.workload, "metric": "accuracy"}, accuracy=plain.accuracy)
    assert "data my-texts, evaluated on its split test.txt" in "\n".join(heading(group([own])[0]))


def test_a_limit_is_said_loudly_everywhere():
    limited = [factory.result(limit=64)]
    assert heading(group(limited)[0])[0].startswith("LIMITED: judged on 64 test examples only (--limit 64)")
    assert (
        "LIMITED" in markdown(group(limited))
        and "LIMITED" in printed_tables(limited, 80)
        and "LIMITED" in result_html(limited[0])
    )
    assert next(csv.DictReader(io.StringIO(csv_text(group(limited)))))["limit"] == "64"


def test_batch_sensitivity_notes_and_sessions_are_footnotes():
    accuracy = factory.accuracy(0.89, 0.0, batch_size=8, batch_sensitivity=0.025)
    made = factory.result(accuracy=accuracy, notes=("auto picked int8 through onnxruntime",))
    notes = "\n".join(footnotes(group([made, factory.result("other", session="s2")])[0]))
    assert (
        "differ between batch 1 and batch 32 (rounded activations): bert_int8 2.5 %; accuracy holds for batch 8."
        in notes
    )
    assert "bert_int8: auto picked int8 through onnxruntime." in notes
    assert "several sessions" in notes


def test_notes_explain_only_what_the_table_has():
    table = group([factory.result(), factory.result("other", 0.6)])[0]
    whole = " ".join(footnotes(table))
    assert "★ is on the front." in whole and "Differences of the metric have 95 % intervals" in whole
    assert "own texts" not in whole and not any("own texts" in row.cells for row in rows(table))
    near = group([replace(r, accuracy=factory.accuracy(0.89, 0.0, 0.001)) for r in (factory.result(),)])[0]
    far = group([factory.result(half=0.05)])[0]
    for made, stated in ((near, True), (far, False)):
        lines = footnotes(made)
        assert any("within" in part for row in rows(made) for part in row.cells["difference"]) is stated
        assert any(line.startswith("within ") for line in lines) is stated
    none = replace(table, front=frozenset())
    assert any(line.startswith("No row is on the front.") for line in footnotes(none))
    assert "★" not in " ".join(footnotes(none))


def test_a_failed_recipe_has_a_row_with_its_first_line():
    results = [factory.result(), factory.failed("bad", "no kernel\nTraceback: deep inside")]
    document = markdown(group(results))
    assert "| bad | no kernel |" in document
    assert "deep inside" not in document
    assert "FAILED bad: no kernel" in printed_tables(results)


def test_only_failed_recipes_make_a_table_too(tmp_path):
    assert all(path.stat().st_size > 0 for path in written(group([factory.failed()]), tmp_path))


def test_no_results_say_what_to_run():
    assert "python -m compress run bert_int8" in markdown(group([]))
    assert "python -m compress run bert_int8" in printed_tables([])


def test_markup_in_names_stays_text_in_markdown():
    document = markdown(group([factory.result(HOSTILE), factory.failed(HOSTILE + "2", HOSTILE)]))
    assert (
        len({line.count("|") - line.count("\\|") for line in table_lines(document) if "★" in line or "latency" in line})
        == 1
    )
    assert "<script>" not in document
    assert "\\[x\\](y)" in document
    assert "\x1b" not in document
    assert text.markdown("_a_ bert_int8 `x`") == "\\_a\\_ bert_int8 \\`x\\`"


def test_markup_in_names_stays_text_in_html():
    for piece in (result_html(factory.result(HOSTILE)), result_html(factory.failed(error=HOSTILE))):
        assert "<script>" not in piece and "&lt;script&gt;" in piece
    assert "<pre>" in Recipe(name="x")._repr_html_()


def test_markup_and_escapes_in_names_stay_text_in_the_terminal():
    out = printed_tables([factory.result("[bold]x[/bold]"), factory.failed("[red]", HOSTILE)])
    assert "[bold]x[/bold]" in out and "[red]" in out
    assert "\x1b" not in out


def test_a_dollar_or_a_foreign_script_in_a_name_is_drawn_as_text(recwarn):
    made = pictures(panels(group([factory.result("$x_{$"), factory.result("名前", 0.7)])))
    assert made["pareto.png"].startswith(b"\x89PNG")
    assert "$x_{$" in made["pareto.svg"].decode() and "名前" in made["pareto.svg"].decode()
    assert not recwarn.list


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1"], ids=repr)
def test_formulas_are_defused_in_csv(text):
    assert safe(text).startswith("'")
    cells = next(csv.DictReader(io.StringIO(csv_text(group([factory.failed("x", text)])))))
    assert cells["error"].startswith("'")


def test_csv_has_every_figure_with_interval_n_and_unit():
    lines = list(csv.DictReader(io.StringIO(csv_text(group(factory.family(energy_source="rapl"))))))
    assert [line["kind"] for line in lines].count("reference") == 3
    first = lines[0]
    assert first["name"] == "bert_prune_distill_int8"
    names = ("metric", "metric_difference", "latency_per_batch_s", "throughput_examples_per_s", "energy_per_example_j",
             "latency_ratio", "energy_ratio", "latency_ratio_to_fp32_eager", "breakeven_inferences")  # fmt: skip
    for name in names:
        low, value, high = (float(first[f"{name}{end}"]) for end in ("_low", "", "_high"))
        assert low <= value <= high
        assert int(first[f"{name}_n"]) > 0
    assert float(first["metric_difference"]) == -0.02  # negative numbers stay numbers
    assert first["stored_bytes"] == "15100000"


def test_csv_has_a_line_for_every_operating_point():
    made = factory.result()
    single = replace(made.points[0], batch_size=1, headline=False)
    lines = list(csv.DictReader(io.StringIO(csv_text(group([replace(made, points=(*made.points, single))])))))
    ours = [(line["batch_size"], line["headline"]) for line in lines if line["kind"] == "recipe"]
    assert ours == [("8", "True"), ("1", "False")]


def test_write_tables_writes_tables_pictures_and_page(tmp_path):
    paths = written(group([*factory.family(), factory.failed("bad")]), tmp_path / "new")
    assert [path.name for path in paths] == ["pareto.md", "pareto.csv", "pareto.html", "pareto.png", "pareto.svg"]
    assert (tmp_path / "new" / "pareto.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "new" / "pareto.html").read_bytes().startswith(b"<!doctype html>")
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == sorted(path.name for path in paths)


def test_several_tables_have_a_picture_each_and_pictures_that_are_no_longer_so_go(tmp_path):
    theirs = tmp_path / "pareto-mine.png"
    theirs.write_bytes(b"somebody else's")
    one, two = factory.result(), factory.result(workload={"name": "my/../data", "model": "m"})
    other = factory.result(workload={"name": "my/../data", "model": "another of that name"})
    written(group([one]), tmp_path)
    written(group([one, two, other]), tmp_path)
    stems = {"pareto-mine", "pareto-my-..-data-m1", "pareto-my-..-data-m1-2", "pareto-stdlib-bert-m1"}
    assert {p.stem for p in tmp_path.glob("pareto*.png")} == stems
    assert {p.stem for p in tmp_path.glob("pareto*.svg")} == stems - {"pareto-mine"}
    written(group([one]), tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {
        "pareto.md", "pareto.csv", "pareto.html", "pareto.png", "pareto.svg", "pareto-mine.png",
    }  # fmt: skip
    assert theirs.read_bytes() == b"somebody else's"


def test_no_more_pictures_than_said_are_made():
    drawn = panels(group([factory.result(workload={"name": f"w{i}", "model": "m"}) for i in range(PICTURES + 1)]))
    assert len(pictures(drawn)) == 2 * PICTURES
    many = group([factory.result(workload={"name": f"w{i}", "model": "m"}) for i in range(PICTURES + 1)])
    assert f"The first {PICTURES} of {PICTURES + 1} tables have pictures" in markdown(many)


def test_text_in_an_svg_is_text_and_equal_results_give_equal_pictures():
    made = pictures(panels(group([factory.result("<script>alert(1)</script>"), factory.result("bert_int8", 0.7)])))
    drawn = made["pareto.svg"].decode()
    assert "<script>" not in drawn and "&lt;script&gt;" in drawn and ">bert_int8</text>" in drawn
    again = pictures(panels(group([factory.result("<script>alert(1)</script>"), factory.result("bert_int8", 0.7)])))
    assert again == made


def test_names_in_a_picture_do_not_overlap():
    figure = picture(panels(group(factory.family()))[0])
    canvas.png(figure)
    boxes = [note.get_window_extent() for note in figure.axes[0].texts]
    assert len(boxes) == 11  # nine recipes, one of which is broken, and three references
    assert not any(one.overlaps(two) for i, one in enumerate(boxes) for two in boxes[:i])


def test_infinite_intervals_are_written_and_drawn(tmp_path):
    made = factory.result(half=math.inf)
    ratio = replace(made.points[0].ratios[0], latency=Estimate(0.5, 0.0, math.inf, 1))
    made = replace(made, points=(replace(made.points[0], ratios=(ratio,)),))
    written(group([made]), tmp_path)
    assert "(no interval)" in (tmp_path / "pareto.md").read_text()


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_names_are_never_cut_short_in_a_terminal(width):
    out = printed_tables(factory.family(), width)
    assert "bert_prune_distill_int8" in out
    assert ("terminal is narrow" in out) == (width < 168)


def test_words_stay_whole_and_lines_fit_in_80_columns():
    lines = printed_tables(factory.family(), 80).splitlines()
    assert max(map(len, lines)) <= 80
    grid = "\n".join(line for line in lines if line.startswith("│"))
    assert all(word in grid for word in ("MEASURABLE", "DIFFERENCE", "adjusted)", "reference"))
    assert any("difference" in line and "accuracy" in line for line in lines)


def test_a_table_without_a_front_has_no_column_for_it():
    out = printed_tables([factory.result("a", references=(SPOILED,)), factory.result("b", references=(SPOILED,))], 80)
    assert "│a " in out and "│★" not in out


def test_reasons_why_rows_are_not_reliable_are_named_once_each_and_no_break_even_repeats_them():
    table = group([factory.result(name, references=(SPOILED,), notes=("a note.",)) for name in ("a", "b")])[0]
    notes = footnotes(table)
    assert (
        "Kept off the front, because their measurement was disturbed (NOT RELIABLE): "
        "fp32 eager: the device throttled (a, b); the device throttled (fp32 eager)."
    ) in notes
    assert not any("break-even" in note for note in notes)
    assert "All recipes: a note." in notes


def test_a_long_table_says_what_it_leaves_out_in_a_terminal_and_nothing_in_the_file():
    many = [factory.result(f"recipe_{i:03}", 0.3 + i / 100) for i in range(30)]
    out, document = printed_tables(many), markdown(group(many))
    assert "recipe_023" in out and "recipe_024" not in out
    assert "6 more expensive rows are not shown" in out and "fp32 eager" in out
    assert "recipe_029" in document
    assert "2 more tables" in printed_tables([factory.result(machine=factory.machine(f"m{i}")) for i in range(8)])


def test_files_that_could_not_be_read_are_listed():
    assert "x.json: not JSON" in markdown(group([factory.result()]), ["x.json: not JSON"])


def test_a_picture_drawn_by_another_process_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("threading.active_count", lambda: 1)
    tables = group(factory.family())
    with Writer() as writer:
        writer.draw(tables)
        writer.bind(tmp_path)
        writer.write(tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in pictures(panels(tables))} == pictures(panels(tables))


def test_every_name_of_the_package_is_what_it_says_also_once_its_module_is_loaded() -> None:
    from compress import report

    for _ in range(2):
        assert {name: callable(getattr(report, name)) for name in report.__all__} == dict.fromkeys(report.__all__, True)


def test_a_process_that_cannot_fork_draws_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("threading.active_count", lambda: 2)
    with Writer() as writer:
        writer.draw(group(factory.family()))
        writer.bind(tmp_path)
        writer.write(tmp_path)
    assert (tmp_path / "pareto.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_cannot_be_drawn_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise ValueError("no ink")

    monkeypatch.setattr("compress.report.charts.plot.pictures", fail)
    monkeypatch.setattr("threading.active_count", lambda: 1)
    with Writer() as writer, pytest.raises(RuntimeError, match="the picture could not be created"):
        writer.draw(group(factory.family()))
        writer.bind(tmp_path)
        writer.write(tmp_path)


def test_a_language_model_that_is_broken_keeps_its_columns():
    def row(name, bits):
        return factory.result(name, accuracy=factory.accuracy(8.0, 0.0, metric="perplexity", bits_per_byte=bits))

    (table,) = group([row("whole", 1.5), row("broken", None)])
    cells = {made.name: made.cells for made in rows(table)}
    assert list(cells["whole"]) == list(cells["broken"])
    assert (cells["whole"]["bits / byte"], cells["broken"]["bits / byte"]) == (("1.500",), ("—",))
    assert markdown([table])


def test_modelled_and_measured_joules_stand_in_columns_of_their_own() -> None:
    for source, ours, other in (
        ("nvml", "energy_per_example_j", "energy_modelled_per_example_j"),
        ("modelled", "energy_modelled_per_example_j", "energy_per_example_j"),
    ):
        made = factory.result("one", energy_source=source)
        own = replace(made, points=(*made.points, factory.natural(made.points[0])))
        row, natural, *_ = csv.DictReader(csv_text(group([own])).splitlines())
        assert float(row[ours]) > 0
        assert row.get(other, "") == ""
        assert (natural.get("energy_per_correct_answer_j", "") != "") == (source == "nvml")
