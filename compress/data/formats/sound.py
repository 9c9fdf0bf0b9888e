"""Sound as one channel of 32-bit floats: numbers of a table, or files that libsndfile reads (wav, flac, ogg, mp3).

    stereo, 44.1 kHz  --mean of the channels-->  mono  --polyphase filter, 160/441-->  16 kHz

What lies in a file is known from its header; its samples are decoded when they are needed.
"""

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np

from compress.base import reading
from compress.base.config import InputError

MOST_BYTES = 2**30
"""Largest file of sound."""
MOST_RATE = 768_000
LEAST_RATE = 1_000
MOST_CHANNELS = 64
EXPECTED = "expected a file of sound, or a mapping of array and sampling_rate"


@dataclass(frozen=True)
class Sound:
    """What is known of sound before it is decoded."""

    samples: int
    """Of each channel."""
    sampling_rate: int
    channels: int


def check_package() -> None:
    """Raise InputError if the package that reads sound is not installed."""
    if util.find_spec("soundfile") is None:
        raise InputError("sound is read by soundfile; install: pip install 'compress[speech]'")


def found(value: Any) -> Sound:
    """Return what the header of a file states of its sound, or the shape of an array. Raises InputError."""
    if _is_array(value):
        wave = _array(value)
        return Sound(len(wave), _rate(value["sampling_rate"]), wave.shape[1])
    import soundfile

    stored = _stored(value)
    try:
        info = soundfile.info(stored)
    except (soundfile.LibsndfileError, TypeError, ValueError) as error:
        raise InputError(f"is no readable sound ({_reason(error)}); expected wav, flac, ogg or mp3") from None
    return Sound(int(info.frames), _rate(info.samplerate), int(info.channels))


def mono(value: Any, sampling_rate: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the samples [n] of sound at a sampling rate: the mean of its channels. Raises InputError."""
    if _is_array(value):
        wave, rate = _array(value), _rate(value["sampling_rate"])
    else:
        import soundfile

        try:
            wave, rate = soundfile.read(_stored(value), dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, TypeError, ValueError) as error:
            raise InputError(f"cannot be decoded ({_reason(error)}); replace or remove it") from None
    if not np.isfinite(wave).all():
        raise InputError("has samples that are not finite (nan or infinite); replace or remove it")
    return resampled(wave.mean(axis=1, dtype=np.float64), int(rate), sampling_rate)


def resampled(
    wave: np.ndarray[Any, np.dtype[np.float64]], rate: int, wanted: int
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return samples [n] at another rate, by scipy's polyphase filter: ceil(n wanted / rate) of them."""
    if rate == wanted:
        return wave.astype(np.float32)
    from scipy.signal import resample_poly

    shared = math.gcd(rate, wanted)
    other: np.ndarray[Any, np.dtype[np.float64]] = resample_poly(wave, wanted // shared, rate // shared)
    return other.astype(np.float32)


def count(sound: Sound, sampling_rate: int) -> int:
    """Return how many samples `mono` returns at a rate."""
    return -(-sound.samples * sampling_rate // sound.sampling_rate)


def _is_array(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get("array") is not None and "sampling_rate" in value


def _array(value: Mapping[str, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the samples [n, channels] of a mapping. An array has [n], [n, channels] or [channels, n]."""
    try:
        wave = np.asarray(value["array"], dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError("has an array that holds no numbers; expected samples from -1 to 1") from None
    if wave.ndim == 1:
        return wave[:, None]
    if wave.ndim != 2:
        raise InputError(f"has an array of {wave.ndim} dimensions; expected samples, or samples of each channel")
    return wave.T if wave.shape[0] < wave.shape[1] else wave


def _rate(value: Any) -> int:
    is_rate = isinstance(value, int | np.integer) and not isinstance(value, bool) and LEAST_RATE <= value <= MOST_RATE
    if not is_rate:
        raise InputError(f"has the sampling rate {value!r}; expected {LEAST_RATE} to {MOST_RATE} samples per second")
    return int(value)


def _stored(value: Any) -> io.BytesIO:
    """Return the bytes of a file of sound. Raises InputError if the value is none, or cannot be read."""
    if isinstance(value, bytes):
        return io.BytesIO(value)
    if isinstance(value, Mapping) and value.get("bytes"):
        return io.BytesIO(bytes(value["bytes"]))
    path = value.get("path") if isinstance(value, Mapping) else value
    if not isinstance(path, str) or not path:
        what = "null" if value is None or isinstance(value, Mapping) else f"a {type(value).__name__}"
        raise InputError(f"is {what}; {EXPECTED}")
    return io.BytesIO(reading.content(Path(path), "sound", MOST_BYTES))


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
