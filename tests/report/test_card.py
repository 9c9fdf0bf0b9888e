"""The model card says what the result says, loads as the hub's card, and is written only beside what was measured."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from compress.analysis.pareto import group
from compress.analysis.sentence import accuracy_words
from compress.base.config import InputError
from compress.data.model_card import STATED
from compress.model.manifest import Kind
from compress.records.result import Result
from compress.records.stats import Estimate
from compress.report import write_card
from compress.report.card import card
from compress.report.describe import describe
from compress.report.notes import footnotes
from compress.report.page.cards import card as page_card
from compress.report.page.samples import Traces
from compress.report.text import UNADJUSTED, joined, metric, signed_spread
from compress.report.text import markdown as escaped
from tests import factory
from tests.helpers import QUICK, compress, read_result

DATA = {"path": "stanfordnlp/sst2", "train": "train", "test": "validation"}
WORKLOAD = {
    "name": "sst2-bert", "task": "text-classification", "model": "textattack/bert-base-uncased-SST-2", "dataset": DATA,
}  # fmt: skip


def sst2_result(**fields: Any) -> Result:
    return factory.result(workload=WORKLOAD, **fields)


def artifact(folder: Path, result: Result, plain: bool = False) -> tuple[Path, Result]:
    folder.mkdir()
    manifest = json.dumps({"plain": plain}).encode()
    (folder / "manifest.json").write_bytes(manifest)
    return folder, replace(result, artifact_sha256=hashlib.sha256(manifest).hexdigest())


def test_the_head_is_what_the_hub_reads(tmp_path: Path) -> None:
    folder, result = artifact(tmp_path / "a", sst2_result())
    data = ModelCard.load(write_card(result, folder)).data
    assert data.base_model == WORKLOAD["model"]
    assert data.pipeline_tag == "text-classification" and data.tags == ["compress", "quantize"]
    (metric,) = data.eval_results
    assert (metric.metric_type, metric.metric_value) == ("accuracy", pytest.approx(0.89))
    assert (metric.dataset_type, metric.dataset_split) == ("stanfordnlp/sst2", "validation")


HUB = {"model_revision": "1" * 40, "dataset_revision": "2" * 40}
APACHE = {**WORKLOAD, "resolved": {**HUB, STATED: {"license": "apache-2.0"}}}


def test_the_head_names_base_licence_data_metric_and_what_loads_the_artifact() -> None:
    data = ModelCard(card(factory.result(workload=APACHE), plain=True)).data
    assert (data.base_model, data.license, data.datasets) == (WORKLOAD["model"], "apache-2.0", ["stanfordnlp/sst2"])
    assert (data.library_name, data.metrics) == ("transformers", ["accuracy"])
    (metric,) = data.eval_results
    assert (metric.dataset_revision, metric.dataset_config) == ("2" * 40, None)


LOADED_BY = [("transformers", True, "transformers", []), ("transformers", False, "compress", []),
             ("onnx", False, "compress", ["onnx"]), ("openvino", False, "compress", ["openvino"])]  # fmt: skip


@pytest.mark.parametrize(("kind", "plain", "library", "tags"), LOADED_BY)
def test_the_library_is_the_one_that_loads_an_artifact_of_this_kind(
    kind: Kind, plain: bool, library: str, tags: list[str]
) -> None:
    written = ModelCard(card(sst2_result(), plain, kind))
    assert (written.data.library_name, written.data.tags) == (library, ["compress", "quantize", *tags])
    assert ("opens `model." in written.text) == bool(tags)


KNOWN = {"license": "other", "license_name": "llama3", "license_link": "https://example.org/licence"}


@pytest.mark.parametrize(
    "stated",
    [{}, {"license": "apache-2.0"}, KNOWN, {"base_model": ["a/b", "c/d"]}, {"license": 3, "base_model": {"a": 1}}, [1]],
    ids=["nothing", "licence", "other licence", "two bases", "other types", "a list"],
)
@pytest.mark.parametrize(
    "name", ["bert_int8", "yes", "1e3", "a: b # c", "{'x': [y]}", "\u540d\u524d \u2028 \x85", "- *x"]
)
def test_the_metadata_is_unchanged_by_the_hubs_own_reader_and_writer(name: str, stated: Any, tmp_path: Path) -> None:
    workload = {**WORKLOAD, "resolved": {**HUB, STATED: stated}}
    written = ModelCard(card(factory.result(name, workload=workload), plain=False))
    before = written.data.to_dict()
    written.save(tmp_path / "README.md")
    again = ModelCard.load(tmp_path / "README.md")
    assert again.data.to_dict() == before and before["model-index"][0]["name"] == name
    assert again.text == written.text and again.content == written.content
    expected = {key: value for key, value in dict(stated if isinstance(stated, dict) else {}).items()
                if isinstance(value, str)}  # fmt: skip
    assert {key: before[key] for key in KNOWN if key in before} == expected


def test_statements_of_a_result_are_checked_again() -> None:
    hostile: dict[str, Any] = {
        "license": "mit\n---\n# x",
        "license_link": "javascript:alert(1)",
        "base_model": ["../../x", "a/b\n- evil"],
    }
    text = card(factory.result(workload={"name": "w", "model": "m", "resolved": {"model_stated": hostile}}), plain=True)
    assert not any(word in text for word in ("javascript", "evil", "# x", "../../x"))


def test_a_metric_of_a_part_of_the_split_is_not_in_the_metadata() -> None:
    assert "model-index" in card(factory.result(), plain=True)
    assert "model-index" not in card(factory.result(limit=200), plain=True)


def test_a_licence_that_is_not_stated_is_not_guessed() -> None:
    unstated = card(factory.result(workload={**WORKLOAD, "resolved": {**HUB, STATED: {}}}), plain=True)
    assert "license" not in unstated and "- licence: the files of the model that was compressed state none" in unstated
    older = card(factory.result(workload={**WORKLOAD, "resolved": HUB}), plain=True)
    assert "license" not in older and "was not recorded" in older
    assert "by its own files: apache-2.0" in card(factory.result(workload=APACHE), plain=True)


def test_a_model_of_a_folder_has_the_base_model_that_its_own_card_states() -> None:
    resolved = {
        "model_revision": None,
        "dataset_revision": None,
        STATED: {"base_model": "google-bert/bert-base-uncased"},
    }
    text = card(factory.result(workload={**WORKLOAD, "model": "/home/me/mine", "resolved": resolved}), plain=True)
    assert ModelCard(text).data.base_model == "google-bert/bert-base-uncased"
    assert "derives from google-bert/bert-base-uncased, by its own card" in text and "/home/me" not in text


def test_a_model_from_a_folder_names_no_path_of_this_machine() -> None:
    local = {**WORKLOAD, "model": "/home/me/secret/my-model", "dataset": {**DATA, "path": "/home/me/data"}}
    text = card(factory.result(workload=local), plain=True)
    assert "/home/me" not in text and "base_model" not in text and "my-model" in text


def test_relative_folders_are_no_hub_ids_and_students_are_named_without_their_path() -> None:
    resolved = {"model_revision": None, "dataset_revision": None}
    local = {**WORKLOAD, "model": "secret/my-model", "dataset": {**DATA, "path": "secret/data"}, "resolved": resolved}
    recipe = {"steps": [{"method": "distill", "model": "/home/me/secret/student"}]}
    text = card(factory.result(workload=local, recipe=recipe), plain=True)
    assert "secret" not in text and "base_model" not in text and "model=student" in text
    of_hub = {**WORKLOAD, "resolved": {"model_revision": "1" * 40, "dataset_revision": "2" * 40}}
    assert f"base_model: {WORKLOAD['model']}" in card(factory.result(workload=of_hub), plain=True)


def test_measured_energy_has_its_grade_and_unmeasured_its_reason() -> None:
    metered = card(sst2_result(cost=0.5, energy_source="nvml"), plain=False)
    assert "Measured by nvml" in metered and "grade B" in metered and "energy ratio" in metered
    plain = card(sst2_result(), plain=False)
    assert "Not measured" in plain and "energy ratio" not in plain and "use latency" in plain


def test_every_reference_stands_beside_it_and_loading_fits_the_artifact() -> None:
    text = card(sst2_result(references=(factory.reference(), factory.reference(factory.BF16, False, 0.6))), plain=True)
    assert "| bf16 eager |" in text and "`from_pretrained` loads it" in text
    assert "not those of a plain" in card(sst2_result(), plain=False)
    assert "Judged on 20 test examples only" in card(sst2_result(limit=20), plain=True)


@pytest.mark.parametrize(("fraction", "words"), [(0.0, "none"), (0.025, "2.5 %"), (1 / 8192, "0.01 %")])
def test_answers_that_depend_on_the_batch_are_stated_where_there_are_any(fraction: float, words: str) -> None:
    made = factory.result(accuracy=factory.accuracy(batch_sensitivity=fraction))
    assert f"- answers that differ between batch 1 and 32: {words}" in card(made, plain=False).splitlines()
    facts = dict(page_card(made, group([made])[0], Traces(None))["facts"])
    assert facts["answers that depend on the batch"] == words
    assert any(f": {made.name} {words}." in note for note in footnotes(group([made])[0]))


def test_names_stay_text() -> None:
    text = card(sst2_result(name="<script>x</script>|`*_"), plain=True).partition("\n---\n")[2]
    assert "<script>" not in text and "&lt;script>" in text and "\\|" in text


def test_only_what_was_measured_gets_a_card(tmp_path: Path) -> None:
    folder, result = artifact(tmp_path / "a", sst2_result())
    with pytest.raises(InputError, match="nothing to publish"):
        write_card(factory.failed(), folder)
    with pytest.raises(InputError, match=r"its manifest.json cannot be read"):
        write_card(result, tmp_path)
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match="is not the artifact of this result"):
        write_card(result, folder)
    assert not (folder / "README.md").exists()


def test_the_command_writes_the_card_of_a_run_and_the_artifact_still_loads(workload: Path, tmp_path: Path) -> None:
    from compress import load

    done = compress("run", "bert_int4", "--workload", workload, *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "results" / "my").glob("bert_int4-*.json")
    done = compress("card", path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / done.stdout.strip()).read_text()
    found = read_result(tmp_path, "bert_int4")
    assert found.verdict is not None and found.verdict.word in text
    assert joined(metric(found.accuracy)) in text
    load(tmp_path / "artifacts" / "my" / "bert_int4")
    done = compress("card", path, "--artifact", "nowhere", cwd=tmp_path)
    assert done.returncode == 2 and "nowhere: its manifest.json cannot be read" in done.stderr


def test_show_and_card_note_that_their_interval_is_not_adjusted_unless_no_cost_is_stated() -> None:
    made = factory.result()
    assert f"  {UNADJUSTED}" in list(describe(made))
    assert f"({UNADJUSTED.capitalize()}.)" in card(made, plain=True)
    broken = factory.result("bert_distill", 0.1, -0.4)
    assert broken.verdict is not None and broken.verdict.word == "BROKEN"
    assert UNADJUSTED not in "\n".join(describe(broken))
    assert UNADJUSTED.capitalize() not in card(broken, plain=True)


def test_arrows_stay_readable_and_a_line_never_becomes_a_quotation() -> None:
    assert escaped("width 1024 -> 512") == "width 1024 -> 512"
    assert escaped(" > 3 tokens") == "&gt; 3 tokens"
    assert escaped("<b>") == "&lt;b>"


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (-0.00009, 0.00491, "(-0.0 to +0.5)"),
        (0.0, 0.005, "(+0.0 to +0.5)"),
        (-0.0, 0.005, "(+0.0 to +0.5)"),
        (-0.021, -0.0001, "(-2.1 to -0.0)"),
    ],
)
def test_an_end_below_0_that_is_rounded_to_0_keeps_its_sign(low: float, high: float, words: str) -> None:
    assert signed_spread(100 * low, 100 * high, "z.1f") == words
    accuracy = replace(factory.accuracy(0.89, 0.002), delta=Estimate((low + high) / 2, low, high, 872))
    if low <= 0 <= high:
        first, last = words.strip("()").split(" to ")
        assert f"between {first} and {last}" in accuracy_words(accuracy, None)
