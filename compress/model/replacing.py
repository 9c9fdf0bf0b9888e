"""Which folders a new artifact may replace, and which files it takes over from them. Without torch.

    valid manifest       replaced: every file that it lists; taken over: the names in BESIDE
    damaged manifest     replaced: files with names of artifacts (NAMES); taken over: the names in BESIDE
    anything else        refused

Files in BESIDE belong to the user or to git: they are in the new folder before it replaces the old one.
"""

import json
import os
import re
import shutil
from pathlib import Path

from compress.base.config import InputError
from compress.model.manifest import BESIDE, CONFIG, MANIFEST, RAW, beside_manifest, read, unlisted

NAMES = (
    *map(re.escape, (MANIFEST, CONFIG, RAW, "model.onnx", "model.xml", "compress.safetensors")),
    r"model(-\d{5}-of-\d{5})?\.safetensors",
    r"model\.safetensors\.index\.json|model\.onnx[._]data",
    r"(generation|preprocessor|image_processor|processor|tokenizer|video_preprocessor)_config\.json",
    r"(tokenizer|special_tokens_map|added_tokens|vocab|normalizer)\.json",
    r"(additional_chat_templates/[\w.-]+|chat_template)\.jinja",
    r"(vocab|merges|dict)\.txt|bpe\.codes",
    r"(spiece|tokenizer|spm|sentencepiece(\.bpe)?)\.model",
)
"""Names that this version and transformers' processors write, as regular expressions."""
_NAME = re.compile("|".join(f"(?:{name})" for name in NAMES))


def refuse_foreign(path: Path) -> None:
    """Raise InputError for a path that an artifact must not replace: a link, a file, or a folder with foreign files."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise InputError(f"{path}: is not a folder; expected a new folder, or an artifact to replace")
    if not path.is_dir() or not any(path.iterdir()):
        return
    if not (path / MANIFEST).is_file() or _of_something_else(path / MANIFEST):
        raise InputError(f"{path}: holds files but no artifact's {MANIFEST}; not overwritten, choose another folder")
    try:
        problems = unlisted(path, read(path))
    except InputError:  # damaged, or of a newer version: replaced if nothing else would be lost
        problems = [
            f"{path / name}: not a file of an artifact, and {MANIFEST} cannot be read; remove it, or keep it in "
            "another folder"
            for name in beside_manifest(path)
            if not _NAME.fullmatch(name)
        ]
    if problems:
        raise InputError([f"{problem}: not overwritten" for problem in problems])


def _of_something_else(file: Path) -> bool:
    """Return whether a manifest is valid JSON of another kind, such as a browser extension's."""
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return not isinstance(plain, dict) or not {"schema", "files"} <= set(plain)


def carry(path: Path, work: Path) -> list[str]:
    """Copy the names in BESIDE from the old folder into the new one and return them; the old folder keeps them.

    Files are hard-linked if the file system supports it: that needs no space, and a kill at any time loses none.
    """
    names = [name for name in BESIDE if os.path.lexists(path / name)]
    for name in names:
        source, target = path / name, work / name
        if source.is_symlink():
            target.symlink_to(source.readlink())
        elif source.is_dir():
            shutil.copytree(source, target, symlinks=True, copy_function=_link_or_copy)
        else:
            _link_or_copy(str(source), str(target))
    return names


def _link_or_copy(source: str, target: str) -> str:
    """Hard-link a file, or copy it if the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
