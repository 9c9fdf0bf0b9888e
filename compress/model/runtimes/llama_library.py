"""llama.cpp's own C interface (llama.h), in the library that the package xllamacpp brings.

The package wraps a server, which answers whole requests. A session times single tokens and reads the logits of every
position, so it calls the C functions:

    file --> model --> context: cache of `texts` texts --decode(tokens)--> logits of the chosen tokens

Settings are structs, whose fields move between versions. Their defaults are compared with those of the known layout
before use, and the context's own answers with the settings after it: another layout is an error, never a guess.
"""

import ctypes
import struct
import weakref
from collections import deque
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from compress.base.errors import InputError

FP32, FP16 = 0, 1
"""Types of keys and values, by GGML's numbers."""
SHARED_BATCH = 2048
"""Most tokens of one call; llama.cpp's default."""
ERROR = 4
"""Level of log messages that are errors."""
KNOWN: dict[str, tuple[int, int]] = {
    "n_ctx": (0x00, 512), "n_batch": (0x04, 2048), "n_ubatch": (0x08, 512), "n_seq_max": (0x0C, 1),
    "n_threads": (0x1C, 4), "n_threads_batch": (0x20, 4), "flash_attn_type": (0x34, -1), "type_k": (0x68, 1),
    "type_v": (0x6C, 1),
}  # fmt: skip
"""Field of llama_context_params -> its offset in bytes, and its default."""
CALLBACK, CALLBACK_DATA = 0x58, 0x60
"""Offsets of the function that is called at every operator, and of its data."""
GPU_LAYERS = (0x10, -1)
"""Offset and default of n_gpu_layers in llama_model_params."""
SOURCES = 0x98
"""Offset of a tensor's first operand in ggml_tensor."""

_Pointer = ctypes.c_void_p
_Log = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, _Pointer)
_Eval = ctypes.CFUNCTYPE(ctypes.c_bool, _Pointer, ctypes.c_bool, _Pointer)


_ERRORS: deque[str] = deque(maxlen=3)


def _logged(level: int, text: bytes | None, _data: Any) -> None:
    """Keep the last errors, and drop everything else."""
    if level == ERROR and text:
        _ERRORS.append(text.decode(errors="replace").strip())


_LOG = _Log(_logged)  # llama.cpp keeps the pointer


class Settings(ctypes.Structure):
    """A struct of settings, larger than any version's: its functions read and write only their own part."""

    _fields_ = [("raw", ctypes.c_ubyte * 512)]

    def get(self, offset: int) -> int:
        """Return the signed 32-bit number at an offset."""
        return int(struct.unpack_from("<i", self.raw, offset)[0])

    def put(self, offset: int, value: int, kind: str = "<i") -> None:
        """Write a number at an offset."""
        struct.pack_into(kind, self.raw, offset, value)


class _Batch(ctypes.Structure):
    """llama_batch."""

    _fields_ = [
        ("n_tokens", ctypes.c_int32),
        ("token", _Pointer),
        ("embd", _Pointer),
        ("pos", _Pointer),
        ("n_seq_id", _Pointer),
        ("seq_id", _Pointer),
        ("logits", _Pointer),
    ]


FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "llama_backend_init": (None,),
    "llama_log_set": (None, _Log, _Pointer),
    "llama_model_default_params": (Settings,),
    "llama_context_default_params": (Settings,),
    "llama_model_load_from_file": (_Pointer, ctypes.c_char_p, Settings),
    "llama_model_free": (None, _Pointer),
    "llama_init_from_model": (_Pointer, _Pointer, Settings),
    "llama_free": (None, _Pointer),
    "llama_n_ctx": (ctypes.c_uint32, _Pointer),
    "llama_n_batch": (ctypes.c_uint32, _Pointer),
    "llama_n_seq_max": (ctypes.c_uint32, _Pointer),
    "llama_n_threads": (ctypes.c_int32, _Pointer),
    "llama_n_threads_batch": (ctypes.c_int32, _Pointer),
    "llama_model_get_vocab": (_Pointer, _Pointer),
    "llama_vocab_n_tokens": (ctypes.c_int32, _Pointer),
    "llama_get_memory": (_Pointer, _Pointer),
    "llama_memory_clear": (None, _Pointer, ctypes.c_bool),
    "llama_memory_seq_rm": (ctypes.c_bool, _Pointer, ctypes.c_int32, ctypes.c_int32, ctypes.c_int32),
    "llama_decode": (ctypes.c_int32, _Pointer, _Batch),
    "llama_get_logits": (_Pointer, _Pointer),
    "ggml_op_desc": (ctypes.c_char_p, _Pointer),
    "ggml_type_name": (ctypes.c_char_p, ctypes.c_int),
}
"""Name -> type of the result, types of the arguments."""


class Library:
    """The functions of FUNCTIONS, of llama.cpp. There is one in a process."""

    def __init__(self) -> None:
        """Raise InputError without the package, or if its library has another layout or lacks a function."""
        try:
            import xllamacpp
        except ImportError as error:
            raise InputError(
                f"runtime llama.cpp: xllamacpp cannot be imported ({error}); install it: pip install "
                "'compress[llama-cpp]'"
            ) from error
        self.version = metadata.version("xllamacpp")
        shared = ctypes.CDLL(xllamacpp.xllamacpp.__file__)
        for name, (result, *arguments) in FUNCTIONS.items():
            try:
                function = getattr(shared, name)
            except AttributeError:
                raise self._unknown(f"has no function {name}") from None
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)
        self.llama_log_set(_LOG, None)
        self.llama_backend_init()
        defaults = self.llama_context_default_params()
        found = {name: defaults.get(offset) for name, (offset, _) in KNOWN.items()}
        layers = self.llama_model_default_params().get(GPU_LAYERS[0])
        if found != {name: value for name, (_, value) in KNOWN.items()} or layers != GPU_LAYERS[1]:
            raise self._unknown(f"has other default settings ({found}, n_gpu_layers {layers})")

    def __getattr__(self, name: str) -> Any:
        """Functions are set by name."""
        raise AttributeError(name)

    def _unknown(self, reason: str) -> InputError:
        return InputError(
            f"runtime llama.cpp: xllamacpp {self.version} {reason} than the version this package knows; install "
            "xllamacpp 2026.10"
        )

    def failure(self, what: str) -> InputError:
        """Return an error with what llama.cpp logged last."""
        logged = "; ".join(_ERRORS) or "no reason was logged"
        _ERRORS.clear()
        return InputError(f"llama.cpp {what} ({logged})")


@cache
def library() -> Library:
    """Return llama.cpp. Raises InputError if it is not installed, or unknown."""
    return Library()


class LlamaModel:
    """The weights of a GGUF file."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raises InputError for one that llama.cpp cannot read."""
        self.library = library()
        settings = self.library.llama_model_default_params()
        settings.put(GPU_LAYERS[0], 0)
        self.pointer = self.library.llama_model_load_from_file(str(path).encode(), settings)
        if not self.pointer:
            raise self.library.failure(f"cannot open {path}")
        weakref.finalize(self, self.library.llama_model_free, self.pointer)
        self.vocabulary = int(self.library.llama_vocab_n_tokens(self.library.llama_model_get_vocab(self.pointer)))


class Context:
    """The cache of a number of texts, and the calls that append tokens to all of them."""

    def __init__(
        self,
        model: LlamaModel,
        texts: int,
        tokens: int,
        threads: int,
        exact: bool = False,
        at_operator: Callable[[int, bool], bool] | None = None,
    ) -> None:
        """Make room for `tokens` tokens in each of `texts` texts.

        `exact`: keys and values in fp32 instead of fp16, llama.cpp's default, and attention not fused. `at_operator` is
        called before and after every operator with the pointer of its tensor.
        """
        self._model, self._library = model, model.library
        self.texts, self.tokens = texts, tokens
        settings = self._library.llama_context_default_params()
        wanted = {
            "n_ctx": texts * tokens, "n_batch": SHARED_BATCH, "n_seq_max": texts, "n_threads": threads,
            "n_threads_batch": threads,
        }  # fmt: skip
        for name, value in wanted.items():
            settings.put(KNOWN[name][0], value)
        if exact:
            settings.put(KNOWN["flash_attn_type"][0], 0)
            settings.put(KNOWN["type_k"][0], FP32)
            settings.put(KNOWN["type_v"][0], FP32)
        if at_operator is not None:
            self._callback = _Eval(lambda tensor, ask, _data: at_operator(tensor, ask))
            settings.put(CALLBACK, ctypes.cast(self._callback, _Pointer).value or 0, "<Q")
        self.pointer = self._library.llama_init_from_model(model.pointer, settings)
        if not self.pointer:
            raise self._library.failure(f"has no memory for {texts} texts of {tokens} tokens")
        weakref.finalize(self, self._library.llama_free, self.pointer)
        for name in ("n_ctx", "n_seq_max", "n_threads", "n_threads_batch"):
            if (found := getattr(self._library, f"llama_{name}")(self.pointer)) != wanted[name]:
                raise InputError(f"llama.cpp took {name} {found}; expected {wanted[name]}")
        self._most = int(self._library.llama_n_batch(self.pointer))
        self._memory = self._library.llama_get_memory(self.pointer)

    def clear(self) -> None:
        """Forget all texts."""
        self._library.llama_memory_clear(self._memory, False)

    def cut(self, tokens: int) -> None:
        """Keep the first `tokens` tokens of every text."""
        for text in range(self.texts):
            if not self._library.llama_memory_seq_rm(self._memory, text, tokens, -1):
                raise InputError("llama.cpp cannot cut this model's cache; use another runtime")

    def append(self, ids: np.ndarray, start: int, every: bool) -> np.ndarray:
        """Append ids [texts, new] at positions from `start`; return logits [texts, new or 1, vocabulary].

        `every`: of all new tokens, else of the last one. The array of a last token is llama.cpp's own memory: it holds
        until the next call.
        """
        texts, new = ids.shape
        step = max(1, self._most // texts)
        parts = []
        for begin in range(0, new, step):
            part = ids[:, begin : begin + step]
            last = begin + part.shape[1] == new
            logits = self._decode(part, start + begin, every, last)
            if every:
                parts.append(logits.copy())
        return np.concatenate(parts, axis=1) if every else logits

    def _decode(self, ids: np.ndarray, start: int, every: bool, last: bool) -> np.ndarray:
        """Append ids that fit one call; see `append`. Without `every` and `last`, nothing is computed for answers."""
        texts, new = ids.shape
        token = np.ascontiguousarray(ids, dtype=np.int32)
        position = np.ascontiguousarray(np.broadcast_to(np.arange(start, start + new, dtype=np.int32), ids.shape))
        counts = np.ones(ids.shape, dtype=np.int32)
        text = np.repeat(np.arange(texts, dtype=np.int32), new)
        pointers = text.ctypes.data + np.arange(texts * new, dtype=np.uint64) * 4
        answers = np.full(ids.shape, every, dtype=np.int8)
        answers[:, -1] |= last
        arrays = (token, None, position, counts, pointers.astype(np.uint64), answers)
        places = (None if array is None else array.ctypes.data for array in arrays)
        code = self._library.llama_decode(self.pointer, _Batch(texts * new, *places))
        if code != 0:
            raise self._library.failure(f"failed on {texts} texts of {new} tokens with code {code}")
        count = int(answers.sum())
        if count == 0:
            return np.empty((texts, 0, self._model.vocabulary), dtype=np.float32)
        flat = ctypes.cast(self._library.llama_get_logits(self.pointer), ctypes.POINTER(ctypes.c_float))
        found = np.ctypeslib.as_array(flat, shape=(texts, count // texts, self._model.vocabulary))
        return found


def operator(tensor: int) -> str:
    """Return `OPERATOR:type of its weight` of a tensor that `at_operator` got."""
    names = library()
    operand = ctypes.c_void_p.from_address(tensor + SOURCES).value
    kind = "" if operand is None else names.ggml_type_name(ctypes.c_int.from_address(operand).value).decode()
    return f"{names.ggml_op_desc(tensor).decode()}:{kind}"
