"""The page's data and sentence: what they say, what they leave out, what they must not let through."""

import json
import math
import shlex
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from compress.analysis.carbon import terms
from compress.analysis.odds import adjusted
from compress.analysis.pareto import group
from compress.base.config import InputError
from compress.measure import examples as session_examples
from compress.records.layer_map import layer_map
from compress.records.result import BreakEven, Verdict
from compress.records.stats import Estimate
from compress.report.document import markdown
from compress.report.page import page_html, plotly
from compress.report.page.again import recipe_text
from compress.report.page.data import MOST_CARDS, as_json, chosen, page_data
from compress.report.page.headline import headline
from compress.report.page.samples import Traces, flips
from compress.report.write import Writer
from compress.spec.recipe import Recipe
from tests import factory
from tests.measured import HOSTILE, measured_results

CHANGE = np.array([0.0, 5.0, 1.0])


def headline_sentence(*results: Any) -> str:
    (table,) = group(results)
    return headline(table)[0]


def test_the_sentence_names_the_cheapest_recipe_that_loses_nothing_and_when_it_pays_back() -> None:
    free = factory.result("bert_int8", 0.42, 0.001, energy_source="nvml")
    free = replace(free, breakeven=BreakEven(Estimate(41_000.0, 39e3, 43e3, 5), "joules", "batch 8", None))
    lossy = factory.result("bert_tiny", 0.2, -0.05, energy_source="nvml")
    sentence, name = headline(group([free, lossy])[0])
    assert name == "bert_int8"
    assert sentence.startswith("bert_int8 answers with 58 % less energy than fp32 eager (")
    assert "at no measurable loss of accuracy" in sentence
    assert sentence.endswith("compression breaks even after 41.0 k inferences.")


def test_with_modelled_energy_the_sentence_speaks_of_time_and_says_why() -> None:
    sentence = headline_sentence(factory.result("bert_int8", 0.5, 0.0))
    assert "answers in 50 % less time than fp32 eager" in sentence
    assert "energy is only modelled on this machine" in sentence


def test_without_a_meter_the_sentence_says_that_energy_is_not_measured() -> None:
    assert "energy is not measured on this machine" in headline_sentence(
        factory.result("bert_int8", 0.5, energy_source=None)
    )


def test_a_saving_that_costs_accuracy_is_never_said_without_the_loss() -> None:
    sentence = headline_sentence(factory.result("bert_tiny", 0.5, -0.062))
    assert sentence.startswith("Nothing saves latency without a loss; bert_tiny answers in 50 % less time")
    assert "LOSES 6.2 points of accuracy" in sentence


def test_where_nothing_saves_the_sentence_counts_what_there_is() -> None:
    sentence = headline_sentence(factory.result("a", 1.3), factory.result("b", 1.0), factory.result("c", 1.4))
    assert sentence.startswith("Nothing here measurably saves latency against fp32 eager: of 3 recipes, ")
    assert "1 without a measurable difference, 2 at a higher cost" in sentence


def test_where_all_are_broken_or_failed_the_sentence_says_so() -> None:
    broken = factory.result("bert_distill", 0.3, -0.35, accuracy=factory.accuracy(0.54, -0.35))
    assert broken.verdict is not None
    assert broken.verdict.word == "BROKEN"
    assert headline_sentence(broken) == "Every recipe broke the model: bert_distill."
    assert headline_sentence(factory.failed("x", "no kernel")) == "Its only recipe failed; x: no kernel."


def test_a_limited_table_says_it_first() -> None:
    assert headline_sentence(factory.result(limit=20)).startswith("Judged on 20 test examples only: ")


def test_a_recipe_that_a_reference_beats_is_not_praised() -> None:
    references = (
        factory.reference(),
        factory.reference("fp32 openvino", False, 0.3, accuracy=factory.accuracy(0.9, 0.01)),
    )
    slower = factory.result("bert_int8", 0.5, -0.004, half=0.006, references=references)
    sentence = headline_sentence(slower)
    assert "bert_int8 answers" not in sentence
    assert "beaten by another row" in sentence


def test_unknown_figures_carry_their_reason_and_are_never_a_zero() -> None:
    data = page_data(group([factory.result()]), None)
    cells = data["tables"][0]["rows"][0]["cells"]
    for key in ("energy", "energy_ratio", "correct", "carbon"):
        assert isinstance(cells[key], int)
        assert len(data["reasons"][cells[key]]) > 10
    assert cells["modelled"][0].startswith("~")


def test_modelled_and_measured_energy_have_axes_of_their_own() -> None:
    both = group([factory.result("a"), factory.result("b", energy_source="nvml", machine=factory.machine("m2"))])
    for table in page_data(both, None)["tables"]:
        for row in table["rows"]:
            assert not (isinstance(row["cells"]["energy"], list) and isinstance(row["cells"]["modelled"], list))


def test_a_table_is_never_mixed_from_two_machines_or_workloads() -> None:
    other = {"name": "digits-vit", "model": "offline:digits-vit"}
    results = [
        factory.result("a"),
        factory.result("a", machine=factory.machine("m2")),
        factory.result("a", workload=other),
    ]
    tables = page_data(group(results), None)["tables"]
    assert len({(table["workload"], table["device"]) for table in tables}) == len(tables) == 3
    assert all(table["finding"].startswith("a answers in 50 % less time") for table in tables)


def test_the_front_and_then_the_cheapest_get_the_cards() -> None:
    many = [factory.result(f"r{i:03d}", 0.3 + 0.002 * i, -0.0001 * i, half=0.0) for i in range(MOST_CARDS + 40)]
    (table,) = group(many)
    places = chosen([table])
    assert len(places) == MOST_CARDS
    assert {i for i, r in enumerate(table.results) if r.name in table.front} <= {index for _, index in places}
    data = page_data([table], None)
    assert data["left"] == 40
    assert len(data["tables"][0]["rows"]) == MOST_CARDS + 40 + len(table.references)


def test_nothing_in_the_data_can_end_its_script_element() -> None:
    name = "</script><!--\u2028<script>"
    text = as_json(page_data(group([factory.result(name)]), None))
    assert "<" not in text
    assert text.isascii()
    assert json.loads(text)["tables"][0]["rows"][0]["name"] == "</script><!-- <script>"


def test_infinite_intervals_are_valid_json() -> None:
    wide = factory.result(accuracy=factory.accuracy(0.89, 0.0, math.inf))
    cell = json.loads(as_json(page_data(group([wide]), None)))["tables"][0]["rows"][0]["cells"]["difference"]
    assert cell[2:5] == [0.0, None, None]


def test_carbon_is_an_axis_where_the_user_says_where_the_electricity_comes_from() -> None:
    tables = group([factory.result(energy_source="nvml")])
    cell = page_data(tables, None, terms("FR", 1.2, "average", None, None))["tables"][0]["rows"][0]["cells"]["carbon"]
    assert cell[2] > 0
    modelled = page_data(group([factory.result()]), None, terms("FR", 1.2, "average", None, None))
    assert isinstance(modelled["tables"][0]["rows"][0]["cells"]["carbon"], int)


def test_a_page_without_plotly_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.report.page.find_spec", lambda name: None)
    with Writer() as writer, pytest.raises(InputError, match="pip install plotly"):
        writer.draw([])
        writer.bind(tmp_path)


def test_the_page_needs_no_other_file_and_no_network() -> None:
    page = page_html(group(factory.family())).decode()
    assert "default-src 'none'" in page
    frame = page.replace(plotly().read_text(encoding="utf-8"), "")
    for word in ("http://", "https://", " src=", "<link", "@import", "innerHTML"):
        assert word not in frame
    assert len(page) < 8_000_000


def test_a_card_without_raw_samples_says_so() -> None:
    (card,) = page_data(group([factory.result()]), None)["cards"].values()
    assert "raw samples of this result are missing" in card["flips"]["why"]
    assert card["layers"]["why"] == "not recorded by this version"


def test_cards_hold_what_the_session_has_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = measured_results(monkeypatch, tmp_path)
    data = page_data(group(results), tmp_path)
    rows = data["tables"][0]["rows"]
    card = data["cards"][f"0:{next(i for i, row in enumerate(rows) if row['name'] == 'bert_int8')}"]
    assert card["flips"]["counts"] == [4, 0, 0]
    number, text, gold, before, after, kind = card["flips"]["rows"][0]
    assert (number, gold, before, after, kind) == (3, "positive", "positive", "negative", 0)
    assert text.startswith("text 3 ")
    assert card["rounds"]["what"] == "energy per inference, mJ"
    assert [len(pair) for pair in card["rounds"]["pairs"]] == [3] * 6
    assert [pair[0] for pair in card["rounds"]["pairs"]] == [1, 2, 3, 4, 5, 6]
    assert card["rounds"]["pairs"][0][2] == pytest.approx(2100, rel=0.05)
    assert card["even"]["unit"] == "J"
    assert card["even"]["at"] is not None
    assert [layer[2] for layer in card["layers"]] == [8, 4, None, None]
    (power,) = data["power"].values()
    assert max(w for w in power["boards"][0]["w"] if w is not None) > 250
    assert set(power["windows"]) >= {"fp32 eager", "bert_int8"}
    assert sum(card["times"]["series"][0]["share"]) == pytest.approx(100, abs=1.5)


def test_a_session_of_a_version_that_kept_no_texts_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = measured_results(monkeypatch, tmp_path)
    for kept in tmp_path.rglob("examples.parquet"):
        kept.unlink()
    card = next(iter(page_data(group(results), tmp_path)["cards"].values()))
    assert card["flips"]["texts"] == "not recorded by this version"
    assert card["flips"]["rows"][0][1] is None


def test_damaged_samples_are_said_and_the_page_is_made_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = measured_results(monkeypatch, tmp_path)
    for name in ("outcomes", "batches", "samples"):
        (file,) = tmp_path.rglob(f"{name}.parquet")
        file.write_bytes(file.read_bytes()[:100])
    data = page_data(group(results), tmp_path)
    card = next(iter(data["cards"].values()))
    for part in (card["flips"], card["times"], *data["power"].values()):
        assert part["why"].startswith("the raw samples cannot be read (")


def test_a_command_to_copy_is_one_command_whatever_the_name() -> None:
    (card,) = page_data(group([factory.result("a; rm -rf b")]), None)["cards"].values()
    assert shlex.split(card["commands"][0])[4] == "a; rm -rf b.yaml"


def test_images_have_a_number_instead_of_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = measured_results(monkeypatch, tmp_path)
    (kept,) = tmp_path.rglob("examples.parquet")
    pq.write_table(pa.Table.from_pylist([{"example": 3, "text": None}]), kept)
    card = next(iter(page_data(group(results), tmp_path)["cards"].values()))
    assert card["flips"]["rows"][0][:2] == [3, None]
    assert card["flips"]["texts"] is None


def test_a_language_models_card_lists_the_blocks_that_changed_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = measured_results(monkeypatch, tmp_path)
    session = Traces(tmp_path).session(results[0].session)
    assert session is not None
    ours, theirs = ({"nll": np.array([10.0, 20.0, 30.0]) + by, "tokens": np.array([10.0] * 3)} for by in (CHANGE, 0))
    monkeypatch.setattr(session, "outcomes", lambda name: theirs if name == factory.FP32 else ours)
    found = flips(session, results[0], factory.FP32)
    assert found["blocks"][0] == [1, 10, "2.0000", "2.5000"]


@pytest.mark.parametrize("metric", ["entity_f1", "token_accuracy"])
def test_a_taggers_card_lists_examples_with_other_tags_and_their_counts(
    metric: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = measured_results(monkeypatch, tmp_path)
    session = Traces(tmp_path).session(results[0].session)
    assert session is not None
    before = {"tp": [2, 1, 0, 1], "predicted": [2, 1, 1, 1], "gold": [2, 2, 1, 1], "right": [9, 8, 7, 6],
              "words": [9, 9, 9, 9], "answer": [1, 2, 3, 4]}  # fmt: skip
    after = {**before, "tp": [1, 2, 0, 1], "predicted": [2, 2, 1, 1], "right": [8, 9, 7, 6], "answer": [5, 6, 7, 4]}
    columns = {
        name: {key: np.array(values, float) for key, values in each.items()}
        for name, each in ((factory.FP32, before), ("ours", after))
    }
    monkeypatch.setattr(session, "outcomes", lambda name: columns.get(name, columns["ours"]))
    accuracy = factory.accuracy(0.8, metric=metric)
    found = flips(session, replace(results[0], accuracy=accuracy), factory.FP32)
    assert found["counts"] == [1, 1, 1]
    assert found["sentence"].endswith("1 with more errors, 1 with fewer, 1 with as many.")
    expected = {
        "entity_f1": ["2 entities", "2 right, 0 false", "1 right, 1 false", 0],
        "token_accuracy": ["9 words", "9 right", "8 right", 0],
    }
    assert found["rows"][0][0] == 0 and found["rows"][0][2:] == expected[metric]
    assert [row[0] for row in found["rows"]] == [0, 1, 2]


def test_the_recipe_in_a_card_is_the_recipe(tmp_path: Path) -> None:
    recipe = Recipe.load("bert_prune_distill_int8")
    file = tmp_path / f"{recipe.name}.yaml"
    file.write_text(recipe_text(recipe.model_dump(mode="json")), encoding="utf-8")
    assert Recipe.load(file) == recipe


def test_flipped_examples_are_those_any_model_answered_unlike_the_reference() -> None:
    outcomes = {"ref": {"prediction": [0.0, 1.0, 1.0, 0.0]}, "a": {"prediction": [0.0, 0.0, 1.0, 0.0]},
                "b": {"prediction": [1.0, 1.0, 1.0, 0.0]}, "lm": {"nll": [1.0]}}  # fmt: skip
    assert session_examples.flips(outcomes, "ref") == [0, 1]
    tagged = {"ref": {"tp": [1.0, 1.0], "answer": [3.0, 4.0]}, "a": {"tp": [1.0, 1.0], "answer": [3.0, 5.0]}}
    assert session_examples.flips(tagged, "ref") == [1]


@pytest.mark.parametrize(
    ("names", "kept"),
    [({0: "LABEL_0", 1: "LABEL_1"}, None), ({"1": "good", "0": "bad"}, ("bad", "good")), (None, None)],
    ids=["numbers", "names", "none"],
)
def test_label_names_are_kept_where_the_model_has_any(names: Any, kept: Any) -> None:
    assert session_examples.label_names(type("Config", (), {"id2label": names})) == kept


def test_the_layer_map_takes_shapes_and_bytes_from_the_tensor_file(tmp_path: Path) -> None:
    tensors = {
        "a.first.weight": {"dtype": "F32", "shape": [4, 16], "data_offsets": [0, 256]},
        "a.second.weight": {"dtype": "F32", "shape": [8, 4], "data_offsets": [256, 384]},
        "b.packed": {"dtype": "U8", "shape": [100], "data_offsets": [384, 484]},
        "__metadata__": {"format": "pt"},
    }
    head = json.dumps(tensors).encode()
    (tmp_path / "compress.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + bytes(484))
    entries = {
        "": {"runtime": "eager"},
        "a": {"kind": "lowrank", "rank": 4},
        "b": {"format": "int4", "backend": "torch", "bits": None},
        "c": {"sparsity": 0.5},
        "d": {"attributes": {"heads": 3}},
    }
    a, b, c = layer_map(tmp_path, entries)
    assert (a.rank, a.shape, a.stored_bytes) == (4, (8, 16), 384)
    assert (b.format, b.bits, b.shape, b.stored_bytes) == ("int4", 4, None, 100)
    assert (c.name, c.sparsity, c.stored_bytes) == ("c", 0.5, None)


def test_a_hostile_name_is_text_in_every_part_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = page_html(group(measured_results(monkeypatch, tmp_path)), tmp_path).decode()
    assert HOSTILE not in page


def test_a_verdict_that_the_table_takes_back_is_not_a_saving() -> None:
    close = factory.result("close", 0.97, 0.0, spread=0.028)
    assert close.verdict == Verdict("SAVES", close.verdict.sentence, close.verdict.cause) if close.verdict else False
    crowd = [factory.result(f"slow{i}", 1.0, spread=0.03) for i in range(8)]
    (table,) = group([close, *crowd])
    sentence, name = headline(table)
    assert name is None
    assert "Nothing here measurably saves" in sentence


def stated_sentences(table: Any) -> dict[str, set[str]]:
    """Recipe -> every sentence that the page and pareto.md state about its verdict; a card shows its row's."""
    data = page_data([table], None)
    (plain_table,) = data["tables"]
    said: dict[str, set[str]] = {r.name: set() for r in table.results}
    for row in plain_table["rows"][: len(table.results)]:
        said[row["name"]].add(row["says"])
    document = markdown([table])
    for name, sentences in said.items():
        (line,) = (line for line in document.splitlines() if line.startswith(f"- {name}: "))
        sentences.add(line.removeprefix(f"- {name}: ").removesuffix("."))
    return said


def test_one_adjusted_verdict_is_in_badge_sentence_card_headline_and_document() -> None:
    clear, close = factory.result("clear", 0.5, spread=0.02), factory.result("close", 0.97, spread=0.028)
    crowd = [factory.result(f"slow{i}", 1.0, spread=0.03) for i in range(8)]
    (table,) = group([clear, close, *crowd])
    rows = {row["name"]: row for row in page_data([table], None)["tables"][0]["rows"]}
    for name, sentences in stated_sentences(table).items():
        (sentence,) = sentences
        assert sentence.startswith(rows[name]["word"]) and rows[name]["verdict"].startswith(rows[name]["word"])
        assert " adjusted; energy is only modelled here)" in sentence
    assert clear.verdict is not None and close.verdict is not None and close.verdict.word == "SAVES"
    assert rows["close"]["word"] == "NO MEASURABLE DIFFERENCE"
    low, high = adjusted(table)["clear"].cost.low, adjusted(table)["clear"].cost.high
    interval = f"{100 * (1 - high):.0f} to {100 * (1 - low):.0f}"
    assert f"SAVES 50 % of the latency ({interval} adjusted; " in rows["clear"]["says"]
    assert f"50 % less time than fp32 eager ({interval} % adjusted)" in headline(table)[0]
    assert interval not in clear.verdict.sentence  # 95 % of this ratio alone


def test_the_verdict_of_a_single_recipe_is_the_results_own() -> None:
    alone = factory.result("alone", 0.5)
    (table,) = group([alone])
    assert alone.verdict is not None
    assert stated_sentences(table) == {"alone": {alone.verdict.sentence}}
    assert "adjusted" not in headline(table)[0]


def test_a_saving_by_holms_method_is_one_in_the_headline_too() -> None:
    clear, close = factory.result("clear", 0.5, -0.062, spread=0.01), factory.result("close", 0.97, spread=0.027)
    (table,) = group([clear, close])
    assert adjusted(table)["close"].cost.high > 1
    row = next(row for row in page_data([table], None)["tables"][0]["rows"] if row["name"] == "close")
    assert row["word"] == "SAVES"
    assert row["says"].startswith("SAVES 3 % of the latency (change between -")
    assert "adjusted; energy is only modelled here; differs by Holm's method)" in row["says"]
    sentence, name = headline(table)
    assert name == "close" and "adjusted; differs by Holm's method)" in sentence
