"""`python -m compress ...` in processes forked from one that has imported the libraries: a test waits for its own work.

They are as separate as started ones (folder, environment, output, memory), down to the measuring process, which knows
nothing but its job file. What a fresh start itself does - what the libraries print, what is imported, signals, pinned
threads - is tested where commands are started: test_run's main run, test_interruptions, test_package.

`python -m tests.forked SOCKET` serves until its standard input closes.
"""

import contextlib
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compress.base.device import Device

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 120  # until the libraries are imported
LONGEST_S = 240


class Server:
    """The process that is forked, started when it is first asked; it ends with this one."""

    def __init__(self) -> None:
        self.address: str | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def call(self, module: str, arguments: Sequence[str], cwd: Path, env: dict[str, str], files: Sequence[int]) -> int:
        """Exit code of `python -m module arguments` with these standard streams."""
        request = {"module": module, "arguments": list(arguments), "cwd": str(cwd), "env": env}
        with self._connected() as line:
            line.settimeout(LONGEST_S)  # what hangs is a failure, not a test run that never ends
            text = json.dumps(request).encode()
            line.sendall(len(text).to_bytes(4, "big"))
            socket.send_fds(line, [b"-"], list(files))
            line.sendall(text)
            told = line.makefile("rb").read()
        return int(told) if told else -signal.SIGKILL

    def _connected(self) -> socket.socket:
        if self.address is None:
            self.address = str(Path(tempfile.mkdtemp()) / "server")
            command = [sys.executable, "-m", "tests.forked", self.address]
            self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            line = socket.socket(socket.AF_UNIX)
            try:
                line.connect(self.address)
            except (FileNotFoundError, ConnectionRefusedError):
                line.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return line


SERVER = Server()


def compress(arguments: Sequence[str], cwd: Path, env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """`python -m compress ...`, forked; what it printed and its exit code."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as told, Path(os.devnull).open() as nothing:
        files = [nothing.fileno(), out.fileno(), told.fileno()]
        code = SERVER.call("compress", arguments, cwd, env, files)
        out.seek(0)
        told.seek(0)
        return subprocess.CompletedProcess(list(arguments), code, out.read(), told.read())


def run_child(command: Sequence[str], _device: "Device") -> None:
    """Stands in for compress.base.processes.run_child: the measuring process, forked from the server."""
    module, *arguments = command[2:]
    read_end, write_end = os.pipe()  # stays open for as long as we wait: the child ends when it closes
    try:
        code = SERVER.call(module, arguments, Path.cwd(), dict(os.environ), [read_end, 1, 2])
    finally:
        os.close(read_end)
        os.close(write_end)
    if code != 0:
        raise RuntimeError(f"the measuring process ended with exit code {code}; see its messages above")


def one_thread() -> int:
    """Replace `compress.base.processes.threads`: two tests run at a time, and tiny models gain nothing from two."""
    return 1


def _become(request: dict[str, Any], files: Sequence[int]) -> int:
    """Runs what is asked for in this process; its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for target, given in enumerate(files):
        os.dup2(given, target)
        os.close(given)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.argv = [request["module"], *request["arguments"]]
    from tests import exports

    try:
        if exports.FOLDER in os.environ:  # not where a test empties the environment
            exports.install()
        if request["module"] == "compress":
            from compress import cli
            from compress.harness import engine
            from compress.harness import run as harness

            engine.run_child, harness.threads = run_child, one_thread
            cli.main()
        else:
            from compress.base import processes as child
            from compress.measure import session

            child.end_with_parent()
            session.main(request["arguments"])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001  what an interpreter does with it
        traceback.print_exc()
        return 1
    return 0


def _answer(line: socket.socket) -> None:
    """One request, in a process of its own."""
    length = int.from_bytes(line.recv(4, socket.MSG_WAITALL), "big")
    _, files, _, _ = socket.recv_fds(line, 1, 3)
    text = line.recv(length, socket.MSG_WAITALL)
    code = _become(json.loads(text), files)
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
        sys.stderr.flush()
    line.sendall(str(code).encode())
    os._exit(0)


LIBRARIES = (
    "datasets",
    "transformers.models.bert.modeling_bert",
    "transformers.models.bert.tokenization_bert",
    "compress.cli",
    "compress.harness.run",
    "compress.harness.transform",
    "compress.measure.memory",
    "compress.measure.session",
    "tests.exports",
)


def _import_libraries() -> None:
    """What nearly every command needs, before anything runs in this process."""
    from compress.base.quiet import quiet_libraries, quiet_transformers

    quiet_libraries()
    for name in LIBRARIES:
        import_module(name)
    quiet_transformers()


def main(address: str) -> None:
    """Serves until standard input closes."""
    gc.disable()
    _import_libraries()
    gc.freeze()
    gc.enable()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them here
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [])
            if sys.stdin in ready:
                return
            line, _ = listener.accept()
            with line:
                if os.fork() == 0:
                    listener.close()
                    SERVER.address = address  # for the measuring process
                    _answer(line)


if __name__ == "__main__":
    main(sys.argv[1])
