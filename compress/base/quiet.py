"""Silence notices of libraries in processes that this package starts, so that its own messages stay visible.

Called before torch is imported. Errors are still shown.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

GRAPHS = ("OnnxModel", "OpenVinoModel", "LlamaCppModel", "GenaiModel", "Padded")
"""Classes of this package that replace a transformers model."""


def quiet_libraries() -> None:
    """Suppress notices at import, such as missing optional kernels, and download bars off a terminal."""
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if not sys.stderr.isatty():  # on a terminal a download shows its bar
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    quiet_notices()


def quiet_notices() -> None:
    """Drop only the notices that libraries log when imported: safe in a user's own process."""
    for name in ("torchao", "torch.utils._pytree", "bitsandbytes.backends.cpu.ops", "gguf.gguf_writer"):
        logging.getLogger(name).addFilter(_errors_only)
    logging.getLogger("transformers.pipelines.base").addFilter(_not_about_graphs)


def _errors_only(record: logging.LogRecord) -> bool:
    """Drop notices, such as kernels for other GPUs that do not load here and deprecations between libraries."""
    return record.levelno >= logging.ERROR and "Failed to load" not in record.getMessage()


def _not_about_graphs(record: logging.LogRecord) -> bool:
    """Drop the warning that a pipeline does not support our graph classes, with its list of names: they work there."""
    return not record.getMessage().startswith(tuple(f"The model '{name}' is not supported" for name in GRAPHS))


def quiet_transformers() -> None:
    """Turn off the progress bars of transformers; imports transformers."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    if sys.stderr.isatty() and "HF_HUB_DISABLE_PROGRESS_BARS" not in os.environ:
        from huggingface_hub.utils import enable_progress_bars  # type: ignore[attr-defined]

        enable_progress_bars()  # transformers turned off the hub's too; downloads keep their bar


@contextmanager
def silenced_stderr() -> Iterator[None]:
    """Discard standard error, C++ output included: torch.profiler prints a line per start and stop."""
    original = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(original, 2)
        os.close(original)
        os.close(null)
