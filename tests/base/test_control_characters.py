"""What others wrote reaches a terminal as text: no colour, no moved cursor, no reversed writing, no line of its own."""

import io
import json
import os
import select
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from compress import cli
from compress.base import console as progress
from compress.base.terminal import CONTROL, console, print, print_errors, visible
from compress.records import files as result_files
from tests import factory
from tests.helpers import bert, compress, write_workload

EVIL = "a\x1b[31mb\x1b]0;title\x07\x08\rc\x9b2Jd\u202ee\u2066f\x7f\x00g"
SHOWN = r"a\x1b[31mb\x1b]0;title\x07\x08\rc\x9b2Jd\u202ee\u2066f\x7f\x00g"


def test_every_control_character_is_shown_as_its_escape_and_nothing_else_changes() -> None:
    assert visible(EVIL) == SHOWN
    assert visible("ä — 你好\n\tend \U0001f600") == "ä — 你好\n\tend \U0001f600"
    for code in (*range(9), *range(11, 32), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xDCFF):
        assert visible(chr(code)).isprintable(), hex(code)


def test_printed_lines_and_errors_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    print(EVIL)
    print_errors([f"{EVIL}\nerror: a forged one"])
    progress.say(EVIL)
    written = capsys.readouterr()
    assert written.out == f"{SHOWN}\n"
    assert written.err.splitlines() == [f"error: {SHOWN}", "  error: a forged one", SHOWN]


def test_a_console_keeps_its_own_colours_and_moves() -> None:
    from rich.text import Text

    out = io.StringIO()
    wide = console(file=out, force_terminal=True, width=200, color_system="standard")
    wide.print(Text(EVIL, style="red"))
    left = SHOWN.replace(r"\x07\x08\r", "")  # rich itself drops these
    assert out.getvalue() == f"\x1b[31m{left}\x1b[0m\n"


def test_a_result_says_who_it_is_in_plain_characters() -> None:
    made = replace(factory.failed(EVIL, EVIL), machine=factory.machine(EVIL), workload={"name": EVIL})
    assert not CONTROL.search(repr(made))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A result whose every text holds control characters, and one beside it that is damaged."""
    made = factory.result(EVIL, workload={"name": EVIL, "model": EVIL, "dataset": {"path": EVIL}})
    result_files.replace_file(tmp_path / "plain.json", replace(made, notes=(EVIL,), trace=EVIL, artifact=EVIL))
    plain = json.loads((tmp_path / "plain.json").read_bytes())

    def poisoned(value: object, key: str = "") -> object:
        if isinstance(value, dict):
            return {name: poisoned(item, name) for name, item in value.items()}
        if isinstance(value, list):
            return [poisoned(item, key) for item in value]
        free = key in ("sentence", "cause", "device_name", "evidence", "session", "note", "reason", "id")
        return EVIL if isinstance(value, str) and free else value

    folder = tmp_path / "results" / "w"
    folder.mkdir(parents=True)
    (folder / "r.json").write_text(json.dumps(poisoned(plain)))
    (folder / "x\x1b[31m.json").write_text("{}")
    return tmp_path / "results"


@pytest.mark.parametrize(
    "command",
    [
        ("show", "results/w/r.json"), ("pareto", "results"), ("verify", "results/w/r.json"),
        ("merge", "results", "nowhere\x1b[31m"), ("card", "results/w/r.json"),
        ("push", "results/w/r.json", "--repo", "\x1b[31m"),
        ("check", "results", "--baseline", "results\x1b[31m", "--max-loss", "1pt"), ("show", "no\x1b[31m.json"),
        ("run", "no\x1b[31m.yaml"), ("run", "bert_int8", "--set", "steps.0.\x1b[31mbits=4"),
        ("run", "bert_int8", "--set", "\u202e"),
        ("run", "bert_int8", "--workload", "\x9b2Jx"), ("\x1b[31mrun",), ("run", "bert_int8", "--\x1b[31mx"),
        ("show", "results/w/x\x1b[31m.json"),
        ("track", "results/w/r.json", "--to", "tensorboard", "--project", "\x1b[31m"),
    ],
    ids=lambda command: " ".join(command).encode("unicode_escape").decode(),
)  # fmt: skip
def test_no_command_passes_a_control_character_on(command: tuple[str, ...], results: Path) -> None:
    done = compress(*command, cwd=results.parent)
    assert not CONTROL.search(done.stdout), done.stdout
    assert not CONTROL.search(done.stderr), done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in (0, 2)
    for file in results.glob("pareto*.[mch]*"):
        written = file.read_text()
        assert not any(character in written for character in "\x1b\u202e\u2066\x9b"), file


def test_a_model_of_an_evil_kind_is_refused_in_plain_characters_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workload = write_workload(tmp_path, model=bert())
    file = tmp_path / "model" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "model_type": "\x1b[31mred"}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["compress", "run", "bert_int8", "--workload", str(workload), "--device", "cpu"])
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal, monkeypatch.context() as shown:
        shown.setattr(sys, "stderr", terminal)
        with pytest.raises(SystemExit, match="2"):
            cli.main()
        terminal.flush()
        printed = ""
        while select.select([ours], [], [], 1)[0]:  # a terminal may hand over what was written in several parts
            printed += os.read(ours, 100_000).decode()
    os.close(ours)
    assert "error: my model" in printed and "\\x1b[31mred" in printed and "\x1b[31mred" not in printed, printed
