"""Silences the libraries' own chatter in the processes that are ours: messages of ours would drown in it.

Called before torch is imported. Errors still come through.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

GRAPHS = ("OnnxModel", "OpenVinoModel", "Padded")
"""Classes of ours that stand for a transformers model."""


def quiet_libraries() -> None:
    """Keeps import-time notices about missing optional kernels off standard error."""
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if not sys.stderr.isatty():  # on a terminal a download shows its bar
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    quiet_notices()


def quiet_notices() -> None:
    """Drops what libraries say of themselves when they are imported, and nothing else: for other people's processes."""
    for name in ("torchao", "torch.utils._pytree", "bitsandbytes.backends.cpu.ops"):
        logging.getLogger(name).addFilter(_errors_only)
    logging.getLogger("transformers.pipelines.base").addFilter(_not_about_ours)


def _errors_only(record: logging.LogRecord) -> bool:
    """Drops notices: kernels for other GPUs that do not load here, deprecations between the libraries themselves."""
    return record.levelno >= logging.ERROR and "Failed to load" not in record.getMessage()


def _not_about_ours(record: logging.LogRecord) -> bool:
    """Drops that a pipeline has never heard of our graphs, with all the names it has heard of: they answer in it."""
    return not record.getMessage().startswith(tuple(f"The model '{name}' is not supported" for name in GRAPHS))


def quiet_transformers() -> None:
    """Turns transformers' bars off once it may be imported."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    if sys.stderr.isatty() and "HF_HUB_DISABLE_PROGRESS_BARS" not in os.environ:
        from huggingface_hub.utils import enable_progress_bars  # type: ignore[attr-defined]

        enable_progress_bars()  # transformers turned the hub's off with its own; a download shows how far it is


@contextmanager
def silenced_stderr() -> Iterator[None]:
    """Sends standard error nowhere, also what C++ writes: torch.profiler prints a line per start and stop."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
