"""What a terminal adds: the tab key completes names without loading torch, and `init` asks its questions."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from compress.base.errors import InputError
from compress.cli import completion
from compress.cli.questions import init, task_of_folder
from compress.data.tasks import TASKS
from compress.data.workload import Workload, names
from compress.harness.suggested import to_start_with
from compress.report.charts import KINDS
from compress.report.trackers import TRACKERS
from tests.helpers import bert, environment

PROGRAM = (
    "import sys; sys.argv[0] = 'compress'\n"
    "from compress.cli import main\n"
    "try: main()\n"
    "finally: assert 'torch' not in sys.modules and 'compress.spec.recipe' not in sys.modules"
)


def completions(line: str, cwd: Path) -> list[str]:
    """What bash is told for a line whose last word is being typed."""
    words = {"_COMPRESS_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=cwd, capture_output=True, text=True, check=False,
        env={**environment(), **words},
    )  # fmt: skip
    assert not done.stderr, done.stderr
    return done.stdout.splitlines()


def test_the_shell_completes_recipes_and_own_files(tmp_path: Path) -> None:
    (tmp_path / "bert_int_mine.yaml").touch()
    assert completions("compress run bert_int", tmp_path) == ["bert_int4", "bert_int8", "bert_int_mine.yaml"]
    assert "digits-vit" in completions("compress run bert_int8 --workload d", tmp_path)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_scripts_of_shells_complete_the_command_and_never_python(shell: str, tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    shown, installed = (
        subprocess.run(
            [sys.executable, "-m", "compress", option, shell], cwd=tmp_path, capture_output=True, text=True,
            check=True, env={**environment(), **home},
        ).stdout
        for option in ("--show-completion", "--install-completion")
    )  # fmt: skip
    scripts = [path for path in tmp_path.rglob("*") if path.is_file() and "_COMPRESS_COMPLETE" in path.read_text()]
    assert f"{shell} completion installed" in installed and len(scripts) == 1
    for script in (shown, scripts[0].read_text()):
        assert "_COMPRESS_COMPLETE=" in script and "python" not in script.lower()


def test_every_list_is_the_tables_own() -> None:
    assert completion.kinds("") == list(KINDS)
    assert completion.trackers("") == list(TRACKERS)
    assert completion.tasks("") == list(TASKS)
    assert set(completion.workloads("")) >= set(names())
    assert completion.kinds("r") == ["rounds"]


def test_files_of_a_folder_are_completed_and_hidden_ones_only_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for name in ("a.yaml", "b.txt", ".c.yaml"):
        (tmp_path / "mine" / name).touch()
    assert completion.workloads("mi") == ["mine/"]
    assert completion.workloads("mine/") == ["mine/a.yaml"]
    assert completion.workloads("mine/.") == ["mine/.c.yaml"]
    assert completion.recipes("nowhere/x") == []


def test_boards_are_those_that_the_driver_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completion, "GPUS", tmp_path / "none")
    assert completion.devices("") == ["auto", "cpu", "cuda"]
    for board in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / "gpus" / board).mkdir(parents=True)
    monkeypatch.setattr(completion, "GPUS", tmp_path / "gpus")
    assert completion.devices("cuda") == ["cuda", "cuda:0", "cuda:1"]
    assert completion.devices("cuda:0,") == ["cuda:0,cuda:1"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as people have it: a model's configuration and a csv of their own."""
    (tmp_path / "my-model").mkdir()
    config = '{"architectures": ["BertForSequenceClassification"], "max_position_embeddings": 64}'
    (tmp_path / "my-model" / "config.json").write_text(config)
    (tmp_path / "my-data").mkdir()
    for split in ("train", "test"):
        (tmp_path / "my-data" / f"{split}.csv").write_text("headline,label\nfine,1\npoor,0\n")
    return tmp_path


def init_dialogue(folder: Path, answers: str, *arguments: str, redirected: bool = False) -> tuple[int, str, str]:
    """Exit code, what the terminal showed, and standard output where it goes to a file."""
    main, side = pty.openpty()
    os.write(main, answers.encode())
    done = subprocess.Popen(
        [sys.executable, "-m", "compress", "init", *arguments], cwd=folder, stdin=side, stderr=side,
        stdout=subprocess.PIPE if redirected else side, env={**environment(), "COLUMNS": "100"},
    )  # fmt: skip
    out = done.communicate(timeout=60)[0] or b""
    os.close(side)
    shown = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:  # the other end is closed and everything was read
            break
        if not part:
            break
        shown += part
    os.close(main)
    return done.returncode, shown.decode().replace("\r\n", "\n"), out.decode()


def test_enter_takes_what_was_found_and_the_file_loads(folder: Path) -> None:
    code, shown, _ = init_dialogue(folder, "\n\n\nheadline\n\n\n\n")
    assert code == 0, shown
    for proposed in ("[my-model]", "[my-data]", "[text-classification]", "[label]", "[-]", "[my.yaml]"):
        assert proposed in shown
    assert "Columns of the data: headline, label" in shown and "run bert_int8 --workload my.yaml" in shown
    made = Workload.load(str(folder / "my.yaml"))
    assert (made.task, made.dataset.text, made.dataset.label, made.dataset.text_pair) == (
        "text-classification", "headline", "label", None,
    )  # fmt: skip
    assert made.max_length == 64


def test_a_wrong_answer_is_explained_and_asked_again_and_questions_do_not_reach_the_file(folder: Path) -> None:
    answers = "nowhere/at/all\nmy-model\nmy-data\ndepth-estimation\ntext-classification\nheadlin\nheadline\n\n\n"
    code, shown, out = init_dialogue(folder, answers, redirected=True)
    assert code == 0, shown
    for told in ("nowhere/at/all: no such folder", "depth-estimation: unknown task", "headlin: no such column"):
        assert told in shown
    assert out.startswith("# text-classification") and "text: headline" in out and "[" not in out
    code, shown, out = init_dialogue(folder, "headline\n\n\n", "--model", "my-model", "--data", "my-data",
                             "--task", "text-classification", redirected=True)  # fmt: skip
    assert code == 0 and "text: text  # not found" in out and "Model" not in shown  # all was given: nothing is asked


def test_a_file_that_is_there_is_not_overwritten_and_an_end_of_input_writes_nothing(folder: Path) -> None:
    (folder / "my.yaml").write_text("mine")
    code, shown, _ = init_dialogue(folder, "\n\n\nheadline\n\n\nmy.yaml\nother.yaml\n")
    assert code == 0 and "my.yaml: already exists" in shown
    assert (folder / "my.yaml").read_text() == "mine" and (folder / "other.yaml").is_file()
    code, shown, _ = init_dialogue(folder, "\n\x04", "--task", "text-classification")
    assert code == 2 and "stopped before all questions were answered" in shown


def test_without_a_terminal_one_error_says_what_is_missing(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "compress", "init", "--task", "causal-lm"], cwd=folder, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, env=environment(),
    )  # fmt: skip
    assert (
        done.returncode == 2
        and done.stderr == "error: init: --model, --data missing; set them, or run init in a terminal to be asked\n"
    )


def test_without_a_terminal_the_task_is_that_of_the_models_folder(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    init("my-model", "my-data", None)
    shown = capsys.readouterr()
    assert "task: text-classification\n" in shown.out
    assert shown.err.splitlines() == [
        "my-model: task text-classification, by its config.json",
        "my-model: has no weights; expected model.safetensors, written by save_pretrained; run refuses the folder as "
        "it is",
    ]


def test_recipes_are_proposed_for_a_model_without_weights_with_a_word_that_they_are_missing(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    bert().save_pretrained("my-model")
    init("my-model", "my-data", None)
    assert "recipes that run here on this model: bert_int8, " in (err := capsys.readouterr().err)
    assert "weights" not in err and "refuses" not in err
    (folder / "my-model" / "model.safetensors").unlink()
    init("my-model", "my-data", None)
    assert "my-model: has no weights; expected " in (err := capsys.readouterr().err)
    assert "recipes that run here on a model of this config.json: bert_int8, " in err
    assert "on this model" not in err


def test_init_names_a_few_recipes_and_how_to_list_the_others(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    bert().save_pretrained("my-model")
    init("my-model", "my-data", None)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("recipes that run here")]
    named = line.partition(": ")[2].partition(" and ")[0].split(", ")
    assert named == ["bert_int8", "prune_half", "lowrank_half", "distill_half"]
    assert re.search(r" and \d+ more \(of those that python -m compress recipes lists;", line)
    assert to_start_with(["vit_int8", "a", "b", "c"]) == ["vit_int8", "a", "b"] and to_start_with([]) == []
    assert to_start_with(["a", "b", "prune_half", "c"]) == ["a", "prune_half", "b"]


def test_init_reports_the_models_folder_before_a_missing_task(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match=r"^--model /nosuch: no such folder or file, and no hub id"):
        init("/nosuch", "my-data", None)
    with pytest.raises(InputError, match=r"^init: --task missing \(nosuch: no config.json that names a task\); set"):
        init("nosuch", "my-data", None)


def test_init_refuses_a_model_of_another_task(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "my-model" / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    needed = "is a LlamaForCausalLM; text-classification needs a model whose class ends in ForSequenceClassification"
    with pytest.raises(InputError, match=f"^--task text-classification: my-model {needed}; its task is causal-lm$"):
        init("my-model", "my-data", "text-classification")


def test_init_states_what_a_folder_without_a_test_split_holds_and_the_way_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "texts").mkdir()
    with pytest.raises(InputError, match="texts: no test split; the folder holds no data files; expected files"):
        init("my-model", "texts", None)
    for name in ("all.txt", "test.raw.txt"):
        (folder / "texts" / name).write_text("Once upon a time.\n")
    with pytest.raises(InputError, match=r"holds all.txt, test.raw.txt; .*; give one file: --data texts/test.raw.txt$"):
        init("my-model", "texts", None)


@pytest.mark.parametrize(
    ("content", "task"),
    [
        ('{"architectures": ["LlamaForCausalLM"]}', "causal-lm"),
        ('{"architectures": ["GPT2LMHeadModel"]}', "causal-lm"),
        ('{"architectures": ["ViTForImageClassification"]}', "image-classification"), ('{"architectures": null}', None),
        ("{", None), ('{"architectures": ["BertForNextSentencePrediction"]}', None),
        ('{"architectures": ["BertModel"]}', "sentence-similarity"),
    ],
    ids=range(7),
)  # fmt: skip
def test_the_task_is_read_from_the_models_configuration(content: str, task: str | None, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    assert task_of_folder(str(tmp_path)) == task
    assert task_of_folder("owner/name") is None
