"""Classification of a folder: a saved model, or a mistaken choice such as its parent, an adapter or an export."""

import os
from collections.abc import Iterator
from pathlib import Path

from compress.base.config import InputError
from compress.base.errors import some
from compress.data import pickles
from compress.data.checkpoints import files
from compress.data.checkpoints.files import ADAPTER, INDEX, JSON_FILES, WHOLE

LFS = b"version https://git-lfs"
FOREIGN = {
    "*.gguf": "weights of llama.cpp (GGUF); convert them with transformers' from_pretrained(folder, gguf_file=...) and "
    "save_pretrained, or use the original model",
    "tf_model*.h5": "weights of TensorFlow; load them in transformers 4 by from_tf=True, and save them again",
    "flax_model*.msgpack": "weights of Flax; load them in transformers 4 by from_flax=True, and save them again",
    "*.onnx": "an exported graph (ONNX); use the transformers model that it was exported from",
    "global_step*": "a DeepSpeed checkpoint; run its zero_to_fp32.py, and save the model with save_pretrained",
    "pytorch_model_fsdp*": "a sharded FSDP checkpoint; merge it with accelerate merge-weights, and save the model with "
    "save_pretrained",
}
"""File pattern of another library -> description and remedy."""
ADAPTER_FILES = (ADAPTER, "adapter_model.safetensors", "adapter_model.bin")
SETTINGS = tuple(name for name in files.MOST_MIB if name != INDEX)
"""Names of the files that configurations, tokenizers and image processors are read from."""


def problems(path: Path) -> list[str]:
    """Return why a folder is not a saved model or holds broken or ambiguous files, one sentence each."""
    if not path.is_dir():
        return ["is a file; expected the folder of a saved transformers model"]
    if errors := files.problems(path):
        return errors
    errors = [*_pointers(path), *_broken(path)]
    if is_adapter(path):
        return [*errors, *_adapter(path)]
    if not (path / "config.json").is_file() or not any(_weights(path)):
        return errors or [_without_model(path)]
    if extra := [name for name in ADAPTER_FILES if (path / name).exists()]:
        errors.append(
            f"holds a model and an adapter ({', '.join(extra)}): whether it includes the adapter is unknown; "
            "merge it into the model (peft: merge_and_unload, then save_pretrained), or move its files elsewhere"
        )
    return errors


def is_adapter(path: Path) -> bool:
    """Return whether a folder holds an adapter and no model of its own."""
    return (path / ADAPTER).is_file() and not any(_weights(path))


def unknown_tokenizer(location: str) -> str | None:
    """Return an error for a tokenizer class that transformers does not have, or None."""
    import transformers

    file = Path(location) / "tokenizer_config.json"
    if not file.is_file() or (file.parent / "tokenizer.json").is_file():
        return None
    name = files.read_json(file).get("tokenizer_class")
    known = name is None or hasattr(transformers, str(name))
    return None if known else f"transformers has no {name}, and tokenizer.json is missing"


def is_pointer(file: Path) -> bool:
    """Return whether a file is a git-LFS pointer to a file that was not downloaded."""
    try:
        if not file.is_file() or file.stat().st_size > 1024:
            return False
        with file.open("rb") as stream:
            return stream.read(len(LFS)) == LFS
    except OSError:
        return False  # reading it reports the error


def pointer_problem(files: list[Path]) -> str:
    """Return the error text for files that are git-LFS pointers."""
    return (
        f"{files[0].name} is a git-LFS pointer, not the file ({len(files)} in total); run `git lfs pull` in its folder"
    )


def notes(path: Path) -> list[str]:
    """Return what is ignored in a folder that holds a model, one sentence each."""
    steps = _checkpoints(path)
    adapters = [child.name for child in _folders(path) if (child / ADAPTER).is_file()]
    sentences = (
        [f"its checkpoints ({some(steps, 4)}) are ignored: the model in the folder itself is used"] if steps else []
    )
    return sentences + ([f"the adapter in {adapters[0]} is ignored: the model is used without it"] if adapters else [])


def weights_read(path: Path) -> list[Path]:
    """Return the weight files that transformers reads; all candidates if neither `WHOLE` nor `INDEX` exists."""
    whole, index = path / WHOLE, path / INDEX
    if is_there(whole):
        return [whole]
    if not is_there(index):
        return [*_weights(path), *(path / name for name in ADAPTER_FILES)]
    try:
        file_names = files.read_json(index)["weight_map"].values()
        return [index, *sorted({path / name for name in file_names})]
    except (InputError, KeyError, TypeError, AttributeError):
        return [index]  # reading it reports the error


def is_whole(path: Path) -> bool:
    """Return whether a folder holds all weights that its index lists; files outside the folder are ignored."""
    if is_there(path / WHOLE):
        return True
    return is_there(path / INDEX) and all(is_there(file) for file in weights_read(path) if file.parent == path)


def is_there(file: Path) -> bool:
    """Return whether the path exists, even as a broken link."""
    return os.path.lexists(file)


def _read(path: Path) -> list[Path]:
    """Return the files that loading a model reads: settings, tokenizer and weights."""
    settings = {file for pattern in SETTINGS for file in path.glob(pattern)}
    return sorted({file for file in (*settings, *weights_read(path)) if is_there(file)})


def _weights(path: Path) -> Iterator[Path]:
    """Yield the candidate weight files for transformers, including empty files and broken links."""
    for file in sorted(path.iterdir()):
        if file.name.endswith((".safetensors", ".safetensors.index.json")) and not file.name.startswith("adapter_"):
            yield file
    for name in pickles.in_folder(path):  # they cause an error that explains the conversion
        yield path / name


def _pointers(path: Path) -> list[str]:
    pointers = [file for file in _read(path) if is_pointer(file)]
    return [pointer_problem(pointers)] if pointers else []


def _broken(path: Path) -> list[str]:
    """Return errors for broken links and for unreadable settings files, one sentence each."""
    errors = [
        f"{file.name} is a link to {file.readlink()}, which does not exist; copy the file itself"
        for file in _read(path)
        if file.is_symlink() and not file.exists()
    ]
    for name in JSON_FILES:
        file = path / name
        if not file.is_file() or is_pointer(file):
            continue
        try:
            content = files.read_json(file)
        except InputError as error:
            errors.extend(error.problems)
            continue
        if not isinstance(content, dict):
            errors.append(f"{name}: a {type(content).__name__}; expected a mapping; save the model again")
    return errors


def base_of(path: Path) -> tuple[str | None, list[str]]:
    """Return the base model that an adapter names (or None), and the errors of its configuration."""
    try:
        content = files.read_json(path / ADAPTER)
    except InputError as error:
        return None, list(error.problems)
    if not isinstance(content, dict):
        return None, [f"{ADAPTER}: a {type(content).__name__}; expected a mapping, as peft's save_pretrained writes"]
    base = content.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        return None, [f"{ADAPTER}: base_model_name_or_path is {base!r}; expected the base model's folder or hub id"]
    return base, []


def _adapter(path: Path) -> list[str]:
    base, errors = base_of(path)
    return errors or [
        f"is an adapter of {base}, not a whole model; install peft (pip install peft), which merges it, or "
        "merge it yourself: AutoPeftModel...from_pretrained, merge_and_unload(), save_pretrained, and give that folder"
    ]


def _without_model(path: Path) -> str:
    """Return the error text for a folder without config.json or weights: its content and the remedy."""
    missing = "weights" if (path / "config.json").is_file() else "config.json"
    checkpoints = _checkpoints(path)
    if checkpoints:
        return f"has no {missing}, but Trainer's checkpoints; use one, such as the last: {path / checkpoints[-1]}"
    for pattern, kind in FOREIGN.items():
        if any(path.glob(pattern)):
            return f"has no {missing}, but {kind}"
    models = [
        str(p.parent.relative_to(path))
        for p in sorted(path.glob("*/config.json")) + sorted(path.glob("*/*/config.json"))
    ]
    if models:
        several = f"several models ({some(models, 4)}); use one of their folders, such as"
        return f"has no {missing}, but contains {several if len(models) > 1 else 'one below; use'} {path / models[0]}"
    if missing == "config.json":
        return "has no config.json; expected a folder written by save_pretrained"
    return "has no weights; expected model.safetensors, written by save_pretrained"


def _checkpoints(path: Path) -> list[str]:
    """Return the names of Trainer's checkpoints, ordered by step."""
    numbered = [
        (int(child.name.removeprefix("checkpoint-")), child.name)
        for child in _folders(path)
        if child.name.startswith("checkpoint-") and child.name.removeprefix("checkpoint-").isdecimal()
    ]
    return [name for _, name in sorted(numbered)]


def _folders(path: Path) -> list[Path]:
    return sorted(child for child in path.iterdir() if child.is_dir())
