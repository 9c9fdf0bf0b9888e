"""A forked process computes what it is given, and reports why it cannot."""

import subprocess
import sys

from tests.helpers import ROOT

SCRIPT = """
import os
from compress.base.forked import Forked
large = b"x" * 1_000_000  # more than a pipe holds
with Forked("the text", lambda end: large + str(os.getpid()).encode() + end, prepare=lambda: None) as made:
    made.start(b"end")
    text = made.result()
assert text.endswith(b"end") and text.startswith(large)
assert text != large + str(os.getpid()).encode() + b"end"
with Forked("the quotient", lambda value: 1 // value) as made:
    made.start(0)
    made.result()
"""


def test_another_process_computes_and_reports_why_it_cannot() -> None:
    """In a fresh process: one with threads, as a test's may be, computes by itself."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "ZeroDivisionError" in done.stderr
    assert "RuntimeError: the quotient could not be created" in done.stderr
