"""Sound of tables and files: channels, sampling rates, and what is wrong with it."""

import io
from typing import Any

import numpy as np
import pytest
import soundfile

from compress.base.errors import InputError
from compress.data.formats import sound


def tone(rate: int, seconds: float = 0.5) -> Any:
    return np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)


def stored(wave: Any, rate: int, kind: str = "WAV") -> dict[str, Any]:
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format=kind)
    return {"bytes": file.getvalue(), "path": f"1.{kind.lower()}"}


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 16_000])
def test_a_tone_of_another_rate_is_the_tone_of_the_wanted_one(rate: int) -> None:
    found = sound.mono({"array": tone(rate), "sampling_rate": rate}, 16_000)
    expected = tone(16_000)[: len(found)]
    inner = slice(400, -400)  # the filter sees silence beyond both ends
    assert np.abs(found[: len(expected)][inner] - expected[inner]).max() < 0.01
    assert len(found) == sound.count(sound.Sound(int(rate * 0.5), rate, 1), 16_000)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
def test_files_are_decoded_and_their_channels_averaged(kind: str) -> None:
    both = np.stack([tone(16_000), np.zeros(8_000)], axis=1)
    value = stored(both, 16_000, kind)
    assert sound.found(value) == sound.Sound(8_000, 16_000, 2)
    found = sound.mono(value, 16_000)
    assert found.shape == (8_000,) and np.abs(found - tone(16_000) / 2).max() < (0.05 if kind == "OGG" else 1e-3)


def test_arrays_have_channels_in_either_order() -> None:
    both = np.stack([tone(16_000), np.zeros(8_000)])
    for array in (both, both.T):
        assert sound.found({"array": array, "sampling_rate": 16_000}) == sound.Sound(8_000, 16_000, 2)
        assert np.allclose(sound.mono({"array": array, "sampling_rate": 16_000}, 16_000), tone(16_000) / 2, atol=1e-6)


BAD: dict[str, tuple[Any, str]] = {
    "nothing": (None, "is null; expected a file of sound, or a mapping of array and sampling_rate"),
    "a number": (3, "is a int; expected a file of sound"),
    "no sound": ({"bytes": b"not a sound", "path": None}, "is no readable sound"),
    "no file": ({"bytes": None, "path": "/nowhere/1.wav"}, "no such sound file"),
    "no rate": ({"array": [0.0] * 900, "sampling_rate": None}, "has the sampling rate None; expected 1000 to"),
    "words": ({"array": ["a"], "sampling_rate": 16_000}, "has an array that holds no numbers"),
    "a cube": ({"array": np.zeros((2, 2, 2)), "sampling_rate": 16_000}, "has an array of 3 dimensions"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_sound_is_named(kind: str) -> None:
    value, expected = BAD[kind]
    with pytest.raises(InputError, match=expected.replace("(", r"\(")):
        sound.found(value)


def test_samples_that_are_not_finite_are_refused() -> None:
    with pytest.raises(InputError, match="not finite"):
        sound.mono({"array": [0.0, float("nan")], "sampling_rate": 16_000}, 16_000)


def test_a_file_cut_short_is_refused() -> None:
    value = stored(tone(16_000), 16_000, "FLAC")
    with pytest.raises(InputError, match=r"cannot be decoded|no readable sound"):
        sound.mono({"bytes": value["bytes"][:40], "path": None}, 16_000)
