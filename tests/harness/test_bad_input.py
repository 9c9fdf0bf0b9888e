"""Bad input of a run: one clear message per problem, exit code 2, nothing written."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch

from compress import cli, load, run
from compress.base.config import InputError
from tests.harness.test_run import QUICK, compress
from tests.helpers import ROOT, bert, environment, small_disk, tokenizer, write_workload


@pytest.fixture
def stderr_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., str]:
    """Runs the command line in this process; gives standard error of a run that must end with exit code 2."""

    def call(*arguments: object) -> str:
        out, artifacts = tmp_path / "out", tmp_path / "made"
        command = ["compress", *map(str, arguments)]
        if arguments[0] == "run":
            command += ["--out", str(out), "--artifacts", str(artifacts)]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capsys.readouterr().err
        assert ended.value.code == 2, told
        assert "Traceback" not in told
        assert not out.exists()
        assert not artifacts.exists()
        return told

    return call


Refused = Callable[..., str]


def test_an_unknown_recipe_workload_or_device_is_refused(stderr_of: Refused, workload: Path) -> None:
    assert "no shipped recipe" in stderr_of("run", "bert_int9")
    assert "no shipped workload" in stderr_of("run", "bert_dense", "--workload", "sst3")
    assert "expected" in stderr_of("run", "bert_dense", "--workload", workload, "--device", "tpu")


def test_an_unknown_option_in_python_is_refused_by_its_name() -> None:
    with pytest.raises(TypeError, match=r"^run.* unexpected keyword argument 'devise'; did you mean device\?$"):
        run("bert_int8", devise="cpu")


def test_mistakes_in_several_places_are_reported_together(stderr_of: Refused, workload: Path, tmp_path: Path) -> None:
    told = stderr_of(
        "run", "bert_dense", "--workload", workload, "--set", "measure", "--set", "seed=[", "--set", "seed=1"
    )
    assert told.count("error:") == 2, told
    told = stderr_of("compare", "bert_nine", "bert_ten", "--workload", workload)
    assert "bert_nine" in told and "bert_ten" in told
    shutil.copytree(workload.parent, tmp_path / "wrong")
    wrong = tmp_path / "wrong" / "my.yaml"
    wrong.write_text(wrong.read_text() + "\nmetric: perplexity\n")
    told = stderr_of("run", "bert_lowrank", "--workload", wrong,
                   "--set", "steps.0.parameters=null", "--set", "steps.0.rank=1000")  # fmt: skip
    assert "perplexity" in told and "1000 saves nothing" in told, told


def test_a_test_split_of_empty_texts_is_refused_before_compressing(stderr_of: Refused, tmp_path: Path) -> None:
    path = write_workload(tmp_path / "empty")
    datasets.Dataset.from_dict({"text": [""] * 6, "label": [0, 1] * 3}).to_parquet(path.parent / "data/test.parquet")
    told = stderr_of("run", "bert_lowrank", "--workload", path)
    assert "my test split: all 6 texts are empty" in told and told.count("error:") == 1, told


@pytest.mark.skipif(torch.cuda.is_available(), reason="has CUDA")
def test_cuda_without_cuda_is_refused_and_not_replaced_by_the_cpu(stderr_of: Refused, workload: Path) -> None:
    assert "cuda" in stderr_of("run", "bert_dense", "--workload", workload, "--device", "cuda").lower()


def test_problems_of_several_recipes_are_reported_together(stderr_of: Refused, tmp_path: Path, workload: Path) -> None:
    for name, text in (("a", "sed: 1\n"), ("b", "seed: x\n")):
        (tmp_path / f"{name}.yaml").write_text(text)
    told = stderr_of("run", tmp_path / "a.yaml", tmp_path / "b.yaml", "--workload", workload)
    assert "a.yaml:1 sed: unknown field; did you mean seed?" in told
    assert "b.yaml:1 seed: 'x'" in told


def test_a_pair_of_format_and_runtime_that_does_not_exist_is_refused(stderr_of: Refused, workload: Path) -> None:
    told = stderr_of("run", "bert_int4", "--workload", workload, "--set", "runtime=onnxruntime", "--device", "cpu")
    assert "does not exist on cpu" in told
    told = stderr_of("run", "bert_int8", "--workload", workload, "--set", "attention=eager", "--device", "cpu")
    assert "onnxruntime has its own attention" in told
    told = stderr_of("run", "bert_bf16", "--workload", workload, "--set", "runtime=onnxruntime", "--device", "cpu")
    assert "remove the cast step" in told


def test_a_rank_that_saves_nothing_and_patterns_that_match_nothing_are_met_before_weights_are_loaded(
    stderr_of: Refused, workload: Path
) -> None:
    assert "saves nothing" in stderr_of(
        "run", "bert_lowrank", "--workload", workload, "--set", "steps.0.rank=32", "--set", "steps.0.parameters=null"
    )
    assert "no linear layer matches" in stderr_of(
        "run", "bert_sparse", "--workload", workload, "--set", "steps.0.include=[nothing*]"
    )


def test_two_recipes_of_one_name_are_refused(stderr_of: Refused, tmp_path: Path, workload: Path) -> None:
    (tmp_path / "bert_dense.yaml").write_text("seed: 3\n")
    told = stderr_of("run", "bert_dense", tmp_path / "bert_dense.yaml", "--workload", workload)
    assert "two different recipes are called bert_dense" in told


def changed_workload(folder: Path, **changes: Any) -> Path:
    return write_workload(folder, model=bert(), **changes)


def with_data(folder: Path, columns: dict[str, list[Any]]) -> Path:
    import datasets

    path = changed_workload(folder)
    datasets.Dataset.from_dict(columns).to_parquet(folder / "data" / "test.parquet")
    return path


DATA: list[tuple[str, dict[str, list[Any]], str]] = [
    ("no label column", {"text": ["a"], "klass": [0]}, "label"),
    ("labels that are no numbers", {"text": ["a", "b"], "label": ["yes", "no"]}, "label"),
    ("label ids the model lacks", {"text": ["a", "b"], "label": [0, 7]}, "7"),
    ("empty split", {"text": [], "label": []}, "empty"),
    ("null texts", {"text": ["a", None], "label": [0, 1]}, "null"),
    ("no text column", {"txt": ["a"], "label": [0]}, "text"),
]


@pytest.mark.parametrize(("columns", "words"), [(c, w) for _, c, w in DATA], ids=[name for name, _, _ in DATA])
def test_data_that_cannot_be_used_is_refused(
    columns: dict[str, list[Any]], words: str, stderr_of: Refused, tmp_path: Path
) -> None:
    told = stderr_of("run", "bert_dense", "--workload", with_data(tmp_path / "w", columns))
    assert words in told
    assert "error: " in told


def test_a_model_of_the_wrong_task_is_refused(stderr_of: Refused, tmp_path: Path) -> None:
    from transformers import BertForMaskedLM

    wrong = changed_workload(tmp_path / "w")
    BertForMaskedLM(bert().config).save_pretrained(tmp_path / "w" / "model")
    assert "BertForMaskedLM" in stderr_of("run", "bert_dense", "--workload", wrong)


def test_a_tokenizer_without_padding_token_is_refused(stderr_of: Refused, tmp_path: Path) -> None:
    path = changed_workload(tmp_path / "w")
    tokens = tokenizer()
    tokens.pad_token = None
    tokens.save_pretrained(tmp_path / "w" / "model")
    assert "padding" in stderr_of("run", "bert_dense", "--workload", path)


def test_folders_that_are_not_there_are_refused_together(stderr_of: Refused, tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_text("task: text-classification\nmodel: ./gone\ndataset: {path: ./lost}\n")
    told = stderr_of("run", "bert_dense", "--workload", path)
    assert "gone" in told
    assert "lost" in told


def test_a_hub_workload_without_network_says_what_to_do(stderr_of: Refused) -> None:
    told = stderr_of("run", "bert_dense", "--workload", "sst2-bert")
    assert "could not be reached" in told or "cannot be reached" in told
    assert "offline" in told


def test_markup_in_a_model_folder_name_stays_text(tmp_path: Path) -> None:
    folder = tmp_path / "[red]<b>model|x"
    path = write_workload(folder)
    done = compress("run", "bert_dense", "--workload", path, *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "[red]<b>" in done.stdout.replace("\n", "")


def test_an_output_folder_that_cannot_be_written_is_met_before_any_work(
    workload: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(
        sys, "argv", ["compress", "run", "bert_dense", "--workload", str(workload), "--out", str(tmp_path / "file")]
    )
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_full_disk_is_an_error_of_that_recipe_and_leaves_no_half_artifact(workload: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "64k") as small:
        arguments = ("--workload", workload, *QUICK, "--artifacts", small / "made")
        done = compress("run", "bert_dense", *arguments, cwd=tmp_path)
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr
        assert "No space left" in done.stderr
        assert not list((small / "made" / "my").glob("bert_dense"))


def test_an_artifact_with_a_flipped_byte_a_foreign_folder_and_a_newer_one_are_refused(
    workload: Path, tmp_path: Path
) -> None:
    done = compress("run", "bert_dense", "--workload", workload, *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    good = tmp_path / "artifacts" / "my" / "bert_dense"
    damaged = tmp_path / "damaged"
    shutil.copytree(good, damaged)
    weights = damaged / "model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-10] ^= 1
    weights.write_bytes(raw)
    with pytest.raises(InputError, match=r"model\.safetensors"):
        load(damaged)
    bert().save_pretrained(tmp_path / "foreign")
    with pytest.raises(InputError, match="manifest"):
        load(tmp_path / "foreign")
    newer = tmp_path / "newer"
    shutil.copytree(good, newer)
    manifest = json.loads((newer / "manifest.json").read_text())
    manifest["schema"] = 99
    (newer / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="99"):
        load(newer)


def test_a_limit_below_two_is_refused(stderr_of: Refused, workload: Path) -> None:
    assert "--limit 1" in stderr_of("run", "bert_dense", "--workload", workload, "--limit", "1")


def test_result_files_that_cannot_be_read_are_named_and_the_others_make_the_table(
    stderr_of: Refused, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no results" in stderr_of("pareto", empty)
    assert "no such folder" in stderr_of("pareto", tmp_path / "nowhere")
    (tmp_path / "x.json").write_text("{}")
    assert "schema" in stderr_of("show", tmp_path / "x.json")


BROKEN_METRIC = """
import datasets, evaluate
class Broken(evaluate.Metric):
    def _info(self):
        features = datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)
    def _compute(self, predictions, references):
        return {"broken": 1 / 0}
"""


def test_a_metric_that_does_not_fit_or_compute_is_met_before_any_work(
    stderr_of: Refused, workload: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text(BROKEN_METRIC)
    (tmp_path / "empty.py").write_text("import no_such_module\n")
    for metric, words in (
        ("perplexity", "metric perplexity: needs"),
        (str(tmp_path / "broken.py"), "ZeroDivisionError"),
        (str(tmp_path / "empty.py"), "cannot be imported"),
    ):
        changed = workload.with_name("other.yaml")
        changed.write_text(workload.read_text() + f"metric: {metric}\n")
        assert words in stderr_of("run", "bert_dense", "--workload", changed)
        assert not list((tmp_path / "made").rglob("*.safetensors"))


def test_a_margin_of_another_unit_than_the_metrics_is_met_before_any_work(stderr_of: Refused, workload: Path) -> None:
    error = stderr_of("run", "bert_dense", "--workload", workload, "--set", "measure.margin=0.5%")
    assert "bert_dense measure.margin: 0.5%: accuracy is compared in points, not in percent" in error
    assert "--set measure.margin=1: expected points such as 1pt" in stderr_of(
        "run", "bert_dense", "--workload", workload, "--set", "measure.margin=1"
    )


def test_a_margin_of_another_unit_is_refused_when_results_are_read(stderr_of: Refused) -> None:
    folder = ROOT / "results" / "reference" / "test-split"
    why = "--margin 1%: accuracy is compared in points, not in percent; change --margin, such as 1pt"
    assert why in stderr_of("pareto", folder, "--margin", "1%")
    assert why in stderr_of("show", folder, "--margin", "1%")
    assert "--margin 1: expected points such as 1pt" in stderr_of("pareto", folder, "--margin", "1")


def test_nothing_is_trained_for_a_recipe_that_another_ones_mistake_refuses(
    stderr_of: Refused, workload: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(_: object) -> None:
        raise AssertionError("the workload was resolved")

    monkeypatch.setattr("compress.harness.plan.locate.resolve", resolve)
    (tmp_path / "bad.yaml").write_text("runtime: openvino\nsteps: [{method: cast}]\n")
    assert "takes fp32 models" in stderr_of("run", "vit_dense", tmp_path / "bad.yaml")
    (tmp_path / "reference.yaml").write_text(workload.read_text())
    assert "reserved for a folder of results" in stderr_of(
        "run", "bert_dense", "--workload", tmp_path / "reference.yaml"
    )


def test_tables_that_cannot_be_written_are_one_sentence(stderr_of: Refused, tmp_path: Path) -> None:
    (tmp_path / "in-the-way").write_text("")
    reference = ROOT / "results" / "reference" / "minilm-sst2"
    assert "choose another folder with --out" in stderr_of("pareto", reference, "--out", tmp_path / "in-the-way")


def test_results_on_a_full_disk_are_one_sentence(workload: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "16k") as small:
        done = compress("run", "bert_dense", "--workload", workload, *QUICK, "--out", small / "out", cwd=tmp_path)
        assert done.returncode == 1, done.stderr
        assert "cannot be written (No space left on device)" in done.stderr
        assert "Traceback" not in done.stderr
        assert (tmp_path / "artifacts" / "my" / "bert_dense").is_dir()


def test_another_workload_of_the_same_name_does_not_replace_results(workload: Path, tmp_path: Path) -> None:
    done = compress("run", "bert_dense", "--workload", workload, *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    other = write_workload(tmp_path / "other", bert(seed=3))
    before = {path: path.read_bytes() for path in (tmp_path / "results").rglob("*.json")}
    told = compress("run", "bert_dense", "--workload", other, *QUICK, cwd=tmp_path)
    assert told.returncode == 2
    assert "holds the result of another workload of that name" in told.stderr
    assert {path: path.read_bytes() for path in (tmp_path / "results").rglob("*.json")} == before
    moved = tmp_path / "moved"
    shutil.copytree(workload.parent, moved)
    again = compress("run", "bert_dense", "--workload", moved / "my.yaml", *QUICK, cwd=tmp_path)
    assert "result is reused" in again.stderr, again.stderr


def test_another_pretrained_student_is_looked_at_before_anything_is_trained(
    stderr_of: Refused, workload: Path, tmp_path: Path
) -> None:
    student = tmp_path / "student"
    bert().save_pretrained(student)
    words = tokenizer()
    words.add_tokens(["new"])
    words.save_pretrained(student)
    told = stderr_of("run", "bert_distill", "--workload", workload, "--set", "steps.0.keep=null",
                   "--set", f"steps.0.model={student}")  # fmt: skip
    assert "has another tokenizer" in told
    told = stderr_of("run", "bert_distill", "--workload", workload, "--set", "steps.0.keep=null",
                   "--set", "steps.0.model=./gone")  # fmt: skip
    assert "distill model ./gone: no such folder" in told


def test_a_result_is_not_reused_when_its_artifact_was_replaced(workload: Path, tmp_path: Path) -> None:
    command = ("run", "bert_lowrank", "--workload", workload, *QUICK)
    assert compress(*command, cwd=tmp_path).returncode == 0
    recipe = tmp_path / "bert_lowrank.yaml"
    recipe.write_text("workload: stdlib-bert\nsteps:\n  - {method: lowrank, rank: 4}\n")
    edited = compress("run", recipe, "--workload", workload, *QUICK, "--limit", "20", cwd=tmp_path)
    assert edited.returncode == 0, edited.stderr
    again = compress(*command, cwd=tmp_path)
    assert "result is reused" not in again.stderr and again.returncode == 0, again.stderr
    assert "result is reused" in compress(*command, cwd=tmp_path).stderr


def test_a_full_folder_for_temporary_files_is_one_sentence(workload: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "64k") as small:
        command = [sys.executable, "-m", "compress", "run", "bert_int8", "--workload", str(workload), *QUICK]
        set_up = {**environment(), "TMPDIR": str(small)}
        done = subprocess.run(command, cwd=tmp_path, env=set_up, capture_output=True, text=True, check=False)
        assert done.returncode == 1, done.stderr
        assert "no space left" in done.stdout and "Traceback" not in done.stderr, done.stderr
