"""Settings of a sentence encoder, from the files of sentence-transformers beside its weights, or from a workload.

    modules.json                          Transformer, Pooling, perhaps Normalize, by the last part of their types
    1_Pooling/config.json                 pooling_mode: mean, or pooling_mode_mean_tokens: true in older folders
    sentence_bert_config.json             max_seq_length and do_lower_case in older folders
    config_sentence_transformers.json     prompts, and the one used by default

They are stored in the model's configuration (`FIELD`), so artifacts need none of these files. Normalize has no file of
its own. Modules that change vectors in other ways (Dense) are refused.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Protocol, get_args

from compress.base.config import InputError, did_you_mean
from compress.data.checkpoints.files import read_json

FIELD = "sentence_encoder"
"""Field of a model's configuration with these settings."""
MODULES = "modules.json"
PROMPTS = "config_sentence_transformers.json"
LENGTHS = tuple(
    f"sentence_{name}_config.json"
    for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
"""Files of a Transformer module, by its former names."""
PACKAGE = "sentence_transformers."
FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Field of an older pooling configuration -> pooling. Vectors of several are joined in this order."""
PROMPTED = {"prompt": (), "query_prompt": ("query",), "document_prompt": ("document", "passage", "corpus")}
"""Field of the settings -> names of its prompt in a folder; the default prompt if it has none of them."""
Pooling = Literal["mean", "cls", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
POOLINGS = get_args(Pooling)


class Stated(Protocol):
    """The part of a workload that describes an encoder."""

    @property
    def pooling(self) -> str | None:
        """Pooling of a plain encoder."""

    @property
    def normalize(self) -> bool | None:
        """Whether vectors of a plain encoder are normalised."""

    @property
    def prompt(self) -> str | None:
        """Text before every text."""

    @property
    def query_prompt(self) -> str | None:
        """Text before every query."""

    @property
    def document_prompt(self) -> str | None:
        """Text before every text that is searched."""


@dataclass(frozen=True)
class Settings:
    """What turns the states of a text's tokens into its vector."""

    pooling: tuple[str, ...]
    normalize: bool = False
    prompt: str = ""
    """Text before every text."""
    query_prompt: str = ""
    document_prompt: str = ""
    """Texts before queries, and before the texts that are searched."""
    similarity: str = "cosine"
    """Similarity by which the model ranks texts."""
    include_prompt: bool = True
    """Whether the prompt's tokens are pooled too."""
    skipped: int = 0
    """Tokens at the beginning that are not pooled: those of the prompt, unless it is included."""
    max_length: int | None = None
    """Longest input in tokens, with which the model was published."""
    lowercase: bool = False

    def __str__(self) -> str:
        prompt = f", prompt {self.prompt!r}" if self.prompt else ""
        kept = f" ({self.skipped} tokens not pooled)" if self.skipped else ""
        return f"{' and '.join(self.pooling)} pooling, {'' if self.normalize else 'not '}normalised{prompt}{kept}"


def stored(config: Any) -> Settings | None:
    """Return the settings in a model's configuration; None without any. Raises InputError for invalid ones."""
    fields = getattr(config, FIELD, None)
    if fields is None:
        return None
    try:
        found = Settings(**{**fields, "pooling": tuple(fields["pooling"])})
        types = (found.normalize, bool), (found.prompt, str), (found.skipped, int), (found.lowercase, bool)
        valid = set(found.pooling) <= set(POOLINGS) and found.pooling and all(isinstance(v, t) for v, t in types)
    except (TypeError, KeyError):
        valid = False
    if not valid:
        raise InputError(f"config.json {FIELD}: {fields!r:.80}; expected pooling ({', '.join(POOLINGS)}) and normalize")
    return found


def store(config: Any, settings: Settings) -> None:
    """Write the settings into a model's configuration."""
    setattr(config, FIELD, {**asdict(settings), "pooling": list(settings.pooling)})


def read(folder: Path, config: Any, workload: Stated) -> Settings:
    """Return the settings of the model in a folder: its own, or those of the workload for a plain encoder.

    Raises InputError if neither states the pooling, if they differ, and for modules that are not supported.
    """
    found = of_folder(folder) or stored(config)
    if found is None:
        if workload.pooling is None:
            raise InputError(
                f"is a plain encoder, without {MODULES}; set pooling in the workload as its card states it: "
                f"{', '.join(POOLINGS)}"
            )
        found = Settings((workload.pooling,), bool(workload.normalize))
    for name, own in (("pooling", " and ".join(found.pooling)), ("normalize", found.normalize)):
        asked = getattr(workload, name)
        if asked not in (None, own):
            raise InputError(f"has {name} {own} ({MODULES}), but the workload sets {asked}; remove {name} from it")
    prompts = {name: asked for name in PROMPTED if (asked := getattr(workload, name)) is not None}
    return replace(found, **prompts, skipped=0)


def of_folder(folder: Path) -> Settings | None:
    """Return the settings of a folder of sentence-transformers; None for a folder without modules.json."""
    if not (folder / MODULES).is_file():
        return None
    pooling = normalize = None
    for place, module in enumerate(_modules(folder)):
        kind = str(module["type"]).rpartition(".")[2]
        if place == 0 and kind == "Transformer" and module.get("path", "") in ("", "."):
            continue
        if place == 1 and kind == "Pooling":
            pooling = _pooling(folder, str(module.get("path", "")))
        elif place == 2 and kind == "Normalize":
            normalize = True
        else:
            raise InputError(
                f"{MODULES}: module {place} is {module['type']} in {module.get('path', '')!r}; expected Transformer in "
                "the folder itself, then Pooling, then Normalize or nothing; other modules are not supported"
            )
    if pooling is None:
        raise InputError(f"{MODULES}: has no Pooling after the Transformer; expected one")
    length, lowercase = _transformer(folder)
    return Settings(
        pooling=pooling[0],
        normalize=bool(normalize),
        **_prompts(folder),
        include_prompt=pooling[1],
        max_length=length,
        lowercase=lowercase,
    )


def _modules(folder: Path) -> list[Mapping[str, Any]]:
    modules = read_json(folder / MODULES)
    if not isinstance(modules, list) or not all(isinstance(each, dict) and "type" in each for each in modules):
        raise InputError(f"{MODULES}: expected a list of modules, each with type and path")
    for module in modules:
        if not str(module["type"]).startswith(PACKAGE):
            raise InputError(
                f"{MODULES}: {module['type']} is code of its own; only modules of {PACKAGE[:-1]} are supported"
            )
    return modules


def _pooling(folder: Path, path: str) -> tuple[tuple[str, ...], bool]:
    """Return the poolings of a module, and whether a prompt's tokens are pooled."""
    name = f"{path}/config.json"
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or not (folder / name).is_file():
        raise InputError(f"{name}: missing; expected the configuration of the Pooling that {MODULES} names")
    fields = _mapping(folder, name)
    modes = fields.get("pooling_mode")
    if modes is None:
        modes = [mode for flag, mode in FLAGS.items() if fields.get(flag)] or ["mean"]
    modes = [modes] if isinstance(modes, str) else modes
    unknown = [mode for mode in modes if mode not in POOLINGS] if isinstance(modes, list) and modes else [modes]
    if unknown:
        hint = did_you_mean(str(unknown[0]), POOLINGS)
        raise InputError(f"{name}: pooling_mode {unknown[0]!r}; expected one of {', '.join(POOLINGS)}{hint}")
    return tuple(modes), fields.get("include_prompt", True) is not False


def _transformer(folder: Path) -> tuple[int | None, bool]:
    """Return the longest input in tokens, if stated, and whether texts are lowercased first."""
    name = next((name for name in LENGTHS if (folder / name).is_file()), None)
    fields = {} if name is None else _mapping(folder, name)
    length = fields.get("max_seq_length")
    if length is not None and (not isinstance(length, int) or isinstance(length, bool) or length < 1):
        raise InputError(f"{name}: max_seq_length {length!r}; expected a number of tokens")
    if fields.get("transformer_task", "feature-extraction") != "feature-extraction":
        raise InputError(f"{name}: transformer_task {fields['transformer_task']}; expected feature-extraction")
    return length, fields.get("do_lower_case") is True


def _prompts(folder: Path) -> dict[str, Any]:
    """Return the prompts that the folder sets, and its similarity, as fields of `Settings`."""
    fields = _mapping(folder, PROMPTS) if (folder / PROMPTS).is_file() else {}
    name, prompts = fields.get("default_prompt_name"), fields.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(prompt, str) for prompt in prompts.values()):
        raise InputError(f"{PROMPTS}: prompts: expected names with a text each")
    if name is not None and name not in prompts:
        raise InputError(f"{PROMPTS}: default_prompt_name {name!r} names none of its prompts")
    default = prompts.get(name, "")
    found = {field: next((prompts[n] for n in names if n in prompts), default) for field, names in PROMPTED.items()}
    return {**found, "prompt": default, "similarity": str(fields.get("similarity_fn_name") or "cosine")}


def _mapping(folder: Path, name: str) -> Mapping[str, Any]:
    fields = read_json(folder / name)
    if not isinstance(fields, dict):
        raise InputError(f"{name}: expected a mapping of settings")
    return fields


def write(settings: Settings, width: int, folder: Path) -> None:
    """Write the files with which sentence-transformers loads the encoder in a folder; vectors have `width` numbers."""
    kinds = ["Transformer", "Pooling", *(["Normalize"] if settings.normalize else [])]
    paths = ["", *(f"{place}_{kind}" for place, kind in enumerate(kinds) if place)]
    modules = [
        {"idx": place, "name": str(place), "path": path, "type": f"{PACKAGE}models.{kind}"}
        for place, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ]
    pooling: dict[str, Any] = {"word_embedding_dimension": width, "include_prompt": settings.include_prompt}
    pooling |= {flag: mode in settings.pooling for flag, mode in FLAGS.items()}
    prompts = {"query": settings.query_prompt, "document": settings.document_prompt}
    prompt: dict[str, Any] = {"prompts": prompts, "similarity_fn_name": settings.similarity}
    if settings.prompt:
        prompt |= {"prompts": {**prompts, "default": settings.prompt}, "default_prompt_name": "default"}
    files: dict[str, Any] = {
        MODULES: modules,
        "1_Pooling/config.json": pooling,
        LENGTHS[0]: {"max_seq_length": settings.max_length, "do_lower_case": settings.lowercase},
        PROMPTS: prompt,
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def encodes_texts(config: Mapping[str, Any]) -> bool:
    """Return whether the settings in `config.json` are of a plain encoder of texts, not of pictures, sound or both."""
    from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING_NAMES as OF_SOUND
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES as OF_PICTURES

    kind = config.get("model_type")
    return not config.get("is_encoder_decoder") and kind not in OF_SOUND and kind not in OF_PICTURES
