"""What a new artifact may take the place of, and what moves over from the old folder. Without torch.

    whole manifest       every file that it lists, and what BESIDE names
    damaged manifest     files of names that artifacts have (NAMES), and what BESIDE names
    anything else        refused

What BESIDE names belongs to the user or to git: the new folder has it before it takes the old one's place.
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
    """Raises InputError for a place that an artifact must not replace: a link, a file, files that nobody wrote here."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise InputError(f"{path}: is not a folder; expected a new folder, or an artifact to replace")
    if not path.is_dir() or not any(path.iterdir()):
        return
    if not (path / MANIFEST).is_file() or _of_something_else(path / MANIFEST):
        raise InputError(f"{path}: holds files but no artifact's {MANIFEST}; not overwritten, choose another folder")
    try:
        strange = unlisted(path, read(path))
    except InputError:  # damaged, or of a newer version: made again where nothing else would go with it
        strange = [
            f"{path / name}: not a file of an artifact, and {MANIFEST} cannot be read; remove it, or keep it in "
            "another folder"
            for name in beside_manifest(path)
            if not _NAME.fullmatch(name)
        ]
    if strange:
        raise InputError([f"{problem}: not overwritten" for problem in strange])


def _of_something_else(file: Path) -> bool:
    """Whether a manifest is whole JSON of another kind, such as that of a browser's extension."""
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return not isinstance(plain, dict) or not {"schema", "files"} <= set(plain)


def carry(path: Path, work: Path) -> list[str]:
    """Puts what BESIDE names from the old folder into the new one, and returns the names; the old folder keeps it too.

    Files are linked where the file system can: they cost no space, and a kill at any moment loses none.
    """
    found = [name for name in BESIDE if os.path.lexists(path / name)]
    for name in found:
        source, target = path / name, work / name
        if source.is_symlink():
            target.symlink_to(source.readlink())
        elif source.is_dir():
            shutil.copytree(source, target, symlinks=True, copy_function=_twin)
        else:
            _twin(str(source), str(target))
    return found


def _twin(source: str, target: str) -> str:
    """The same file under a second name, or a copy where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
