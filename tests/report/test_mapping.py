"""What a map prints and writes: the table, the sentence, the heat map, the CSV."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from compress.analysis.mapping import maps
from compress.base.config import InputError
from compress.records import files
from compress.report.charts import write_chart
from compress.report.charts.mapped import figure_of
from compress.report.mapping import csv_of, print_maps, write_maps
from tests import factory, mapped

PLANTED = {(1, 32): 1.5, (1, 128): 1.2, (8, 32): 1.001, (8, 128): 0.5}


def printed(*results: object) -> str:
    console = Console(file=io.StringIO(), width=120)
    print_maps(list(results), console)  # type: ignore[arg-type]
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_the_table_has_a_row_a_batch_size_and_a_column_a_length() -> None:
    text = printed(mapped.result(PLANTED))
    assert "bert_int8: latency / that of fp32 eager; stdlib-bert on Example CPU, 2 cores" in text
    heading = next(line for line in text.splitlines() if "length 32" in line)
    assert heading.index("length 32") < heading.index("length 128")
    (first,) = (line for line in text.splitlines() if "batch 1 " in line and "│" in line)
    assert first.count("COSTS MORE") == 2
    assert "UNDECIDED" in text and "SAVES" in text and "0.500 (" in text
    assert "bert_int8 saves latency from batch 8 x length 128 on" in text
    assert "hold jointly for 4 ratios" in text


def test_points_that_were_disturbed_have_their_reason_below_the_table() -> None:
    disturbed = [(1, 128), (8, 32)]
    text = printed(mapped.result(PLANTED, unreliable=disturbed))
    assert "NOT RELIABLE at batch 1 x length 128, batch 8 x length 32: the board throttled\n" in text
    assert "NOT RELIABLE at" not in printed(mapped.result(PLANTED))


def test_the_heading_states_what_the_ratios_are_of() -> None:
    made = mapped.result(PLANTED)
    first, *others = (point for point in made.points if not point.headline)
    metered = replace(
        first, energy_source="rapl", ratios=tuple(replace(r, energy=r.latency, grade="A") for r in first.ratios)
    )
    assert "bert_int8: latency or energy / that of" in printed(replace(made, points=(metered, *others)))


def test_a_failed_recipe_is_one_line() -> None:
    text = printed(factory.failed("bert_int4", "out of memory"), mapped.result(PLANTED))
    assert "FAILED bert_int4: out of memory" in text and "bert_int8" in text


def test_every_point_is_a_line_of_the_csv() -> None:
    lines = list(csv.DictReader(io.StringIO(csv_of(maps([mapped.result(PLANTED)])))))
    assert [(int(line["batch_size"]), int(line["length"])) for line in lines] == sorted(PLANTED)
    for line in lines:
        assert float(line["ratio"]) == PLANTED[int(line["batch_size"]), int(line["length"])]
        assert float(line["ratio_low"]) < float(line["alone_low"]) < float(line["ratio"])
        assert line["comparisons"] == "4" and line["axis"] == "latency"
    assert [line["word"] for line in lines] == ["COSTS MORE", "COSTS MORE", "UNDECIDED", "SAVES"]


def test_the_heat_map_colours_decided_points_and_hatches_the_others() -> None:
    figure = figure_of(maps([mapped.result(PLANTED)]))
    (plot,) = figure.axes
    shade = plot.images[0].get_array()
    assert shade is not None and shade.shape == (2, 2)
    assert shade[0, 0] > shade[0, 1] > 0 == shade[1, 0] > shade[1, 1]
    assert abs(plot.images[0].get_clim()[0]) == plot.images[0].get_clim()[1]  # centred on a ratio of 1
    hatched = [(patch.get_x(), patch.get_y()) for patch in plot.patches if patch.get_hatch()]  # type: ignore[attr-defined]
    assert hatched == [(-0.5, 0.5)]  # batch 8 x length 32
    words = [text.get_text() for text in plot.texts]
    assert len(words) == 4 and sum("undecided" in word for word in words) == 1


def test_pictures_and_csv_lie_beside_the_result(tmp_path: Path) -> None:
    made = mapped.result(PLANTED)
    written = write_maps([made, factory.failed()], tmp_path)
    beside = tmp_path / files.own_path(made)
    assert written == [beside.with_suffix(suffix) for suffix in (".png", ".svg", ".csv")]
    assert all(path.stat().st_size > 300 for path in written)
    assert "COSTS MORE" in beside.with_suffix(".csv").read_text()


def test_plot_draws_maps_from_their_files_and_refuses_other_results(tmp_path: Path) -> None:
    path, plain = (tmp_path / f"{name}.json" for name in ("map", "plain"))
    files.replace_file(path, mapped.result(PLANTED))
    files.replace_file(plain, factory.result("bert_int8"))
    drawn = write_chart([path], "map", tmp_path / "x.svg").read_text()
    assert "batch 8" in drawn and "undecided" in drawn
    with pytest.raises(InputError, match=r"is not a result of `compress map`"):
        write_chart([plain], "map", tmp_path / "y.svg")
