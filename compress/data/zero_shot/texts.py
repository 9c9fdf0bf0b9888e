"""Class names and their embeddings: texts are encoded once, and the vision tower is stored with the result.

    classes x templates --text tower--> embeddings of length 1 --mean over templates--> of length 1 again

As in CLIP (Radford et al. 2021, arXiv:2103.00020, section 3.1.4). What is made lies in the cache as an ordinary folder,
which is what a run judges, measures and compresses.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.base.config import InputError, digest
from compress.base.console import say
from compress.base.errors import as_input_error, some
from compress.base.files import cache_folder, content_hash
from compress.base.source_code import code_digest
from compress.data import checkpoints
from compress.data.cached import keep_used, made_once
from compress.data.stored import UNQUANTIZED, stored_format
from compress.data.tasks import image_classification
from compress.data.tasks import texts as tokenizers
from compress.data.tasks.class_names import class_names as names_of
from compress.data.tasks.labels import require_column, text_of
from compress.data.tasks.view import WorkloadView
from compress.data.zero_shot.families import TEMPLATES, TWO_TOWERS, USUAL_TEMPLATES, WITHOUT_TEXTS

if TYPE_CHECKING:
    import datasets
    import torch

Load = Callable[[Any], "datasets.Dataset"]
BATCH = 64
"""Texts that are encoded together."""
CODE = ("data/zero_shot",)
"""What embeddings depend on besides a model, its classes and templates, and transformers."""
REMEDY = "save it beside the model: AutoProcessor.from_pretrained(its origin).save_pretrained(this folder)"


def derive(folder: Path, place: str, workload: WorkloadView, load: Load, content: str) -> Path:
    """Return the folder of the vision tower with the embeddings of the workload's classes, made now if needed.

    `load` returns the raw examples of a split, and `content` is the hash of the folder's files. Raises InputError
    without class names, or if texts cannot be encoded.
    """
    config = _config(folder, place)
    if config["model_type"] in TWO_TOWERS:
        return encoded(folder, place, class_names(workload, load), workload.templates or USUAL_TEMPLATES, content)
    _check_made(config, place, workload.classes, workload.templates, "remove {} from the workload, or")
    return folder


def derive_like(folder: Path, place: str, config: Any) -> Path:
    """Return the same for another model, with the classes and templates of a configuration."""
    own, names, templates = _config(folder, place), names_of(config), getattr(config, TEMPLATES)
    if own["model_type"] in TWO_TOWERS:
        return encoded(folder, place, names, templates, content_hash(folder))
    _check_made(own, place, names, templates, "expected the teacher's {}:")
    return folder


def _config(folder: Path, place: str) -> Mapping[str, Any]:
    """Return the settings in `config.json`. Raises InputError if they are of a model of another kind."""
    config = checkpoints.config_of(folder)[0] or {}
    if (kind := config.get("model_type")) not in (*TWO_TOWERS, *WITHOUT_TEXTS):
        raise InputError(f"{place}: is a {kind}; expected a model of pictures and texts: {', '.join(TWO_TOWERS)}")
    return config


def _check_made(
    config: Mapping[str, Any],
    place: str,
    classes: Sequence[str] | None,
    templates: Sequence[str] | None,
    expected: str,
) -> None:
    """Raise InputError if a model without text tower was made for other classes or templates than these, if given.

    `expected` has {} for what differs.
    """
    stored = config.get("id2label") or {}
    names = [str(stored[number]) for number in sorted(stored, key=int)]
    texts = list(config.get(TEMPLATES) or ())
    for what, given, made in (("classes", classes, names), ("templates", templates, texts)):
        if given is not None and list(given) != made:
            raise InputError(
                f"{place}: has no text tower, and was made for the {what} {some(made)}; {expected.format(what)} "
                "give the model with both towers"
            )


def encoded(folder: Path, place: str, names: Sequence[str], templates: Sequence[str], content: str) -> Path:
    """Return the folder of the vision tower with the embeddings of these classes, made now if needed.

    Its name is a digest of all that it depends on. The cache removes those that no run has used for a month.
    """
    config, _ = checkpoints.config_of(folder)
    if (form := stored_format(config or {})) is not None:
        raise InputError(f"{place}: its weights are stored in {form}, which this task does not read; {UNQUANTIZED}")
    made_of = [content, list(names), list(templates), code_digest(CODE), version("transformers")]
    made = made_once(
        cache_folder() / "zero-shot" / digest(made_of),
        f"the embeddings of {len(names)} classes for {folder.name}",
        lambda target: (target / "config.json").is_file() and any(target.glob("*.safetensors")),
        lambda target: _make(folder, place, names, templates, target),
    )
    keep_used(made)
    say(f"{place}: its vision tower, with the embeddings of {len(names)} classes, is cached in {made}")
    return made


def class_names(workload: WorkloadView, load: Load) -> list[str]:
    """Return the names of the classes, in the order of the model's outputs. Raises InputError without any."""
    raw, column = load("test"), workload.dataset.label
    named = workload.classes is not None or hasattr(raw.features.get(column), "names")
    train = None if named or workload.dataset.train is None else load("train")
    try:
        return _names(raw, train, workload)
    except InputError as error:
        raise InputError(f"dataset {workload.dataset.path}: {problem}" for problem in error.problems) from None


def _names(raw: "datasets.Dataset", train: "datasets.Dataset | None", workload: WorkloadView) -> list[str]:
    column, given = workload.dataset.label, workload.classes
    require_column(raw, column, "label")
    own = getattr(raw.features[column], "names", None)
    if given is not None:
        if own is not None and len(own) != len(given):
            raise InputError(f"classes: {len(given)} names, but the data has {len(own)} ({some(own)})")
        return list(given)
    names = list(map(str, own)) if own is not None else _in_column(raw, train, column)
    blank = [number for number, name in enumerate(names) if not name.strip()]
    if blank:
        raise InputError(f"label column {column!r}: class {blank[0]} has an empty name; set classes to all names")
    if len(names) < 2:
        raise InputError(
            f"label column {column!r}: one class only ({some(names)}); expected two or more: set classes to all of them"
        )
    return names


def _in_column(raw: "datasets.Dataset", train: "datasets.Dataset | None", column: str) -> list[str]:
    """Return the names in a column of text, of both splits, in alphabetical order."""
    given = [*raw[column], *(train[column] if train is not None and column in train.column_names else ())]
    values = [value for value in given if value is not None]
    names = sorted(set(map(text_of, values)))
    if all(isinstance(value, str) for value in values) and not all(name.lstrip("+-").isdigit() for name in names):
        return names
    raise InputError(
        f"label column {column!r}: holds {some(names)}; numbers are no names, which the texts need; set classes in "
        "the workload to the names, in the order of the numbers, such as classes: [cat, dog]"
    )


def _make(folder: Path, place: str, names: Sequence[str], templates: Sequence[str], target: Path) -> None:
    """Write the vision tower with the embeddings of these classes, and its image processor."""
    import torch

    from compress.data.loading import quiet_when_piped
    from compress.data.zero_shot.model import ZERO_SHOT_CLASSIFIER, without_texts

    quiet_when_piped()
    whole, tokenizer = _whole(folder, place), _tokenizer(folder, place)
    with as_input_error(lambda reason: f"{place}: its image processor cannot be loaded ({reason}); {REMEDY}"):
        processor = image_classification.load_processor(str(folder))
    try:
        vectors = embeddings(whole, tokenizer, names, templates)
    except InputError as error:
        raise InputError(f"{place}: {problem}" for problem in error.problems) from None
    with as_input_error(lambda reason: f"{place}: {reason}"):
        config = without_texts(whole.config)
    config.id2label = dict(enumerate(names))
    config.label2id = {name: number for number, name in enumerate(names)}
    setattr(config, TEMPLATES, list(templates))
    model = ZERO_SHOT_CLASSIFIER.from_config(config)
    state = {**whole.state_dict(), "class_embeddings": vectors}
    with torch.no_grad():
        model.load_state_dict({name: state[name] for name in model.state_dict()})
    model.save_pretrained(target)
    processor.save_pretrained(target)


def _whole(folder: Path, place: str) -> Any:
    """Return the model with both towers, in float32. Raises InputError if weights are missing."""
    from transformers import AutoModelForZeroShotImageClassification

    with as_input_error(lambda reason: f"{place}: cannot be loaded ({reason})"):
        model, info = AutoModelForZeroShotImageClassification.from_pretrained(
            folder, dtype="float32", use_safetensors=True, output_loading_info=True, local_files_only=True
        )
    if missing := sorted(info["missing_keys"]):
        raise InputError(
            f"{place}: has no weights for {some(missing, 4)}, which would be random; expected a model of "
            "pictures and texts"
        )
    return model.eval()


def _tokenizer(folder: Path, place: str) -> Any:
    """Return the tokenizer of the text tower."""
    with as_input_error(
        lambda reason: f"{place}: the tokenizer of its text tower cannot be loaded ({reason}); {REMEDY}"
    ):
        tokenizer = tokenizers.load_processor(str(folder), local_files_only=True)
        if tokenizer.pad_token is None:
            raise ValueError("it has no padding token")
        return tokenizer


def embeddings(model: Any, tokenizer: Any, names: Sequence[str], templates: Sequence[str]) -> "torch.Tensor":
    """Return the embeddings [classes, width] of class names, of length 1.

    An underscore in a name is a space in its texts. SigLIP reads texts padded to its full length, without a mask, as it
    was trained. Raises InputError for texts longer than the text tower reads, for classes whose texts are the same
    tokens, and for embeddings that are not finite.
    """
    import torch
    from torch.nn import functional as F

    given = [template.replace("{}", name.replace("_", " ")) for name in names for template in templates]
    longest = int(model.config.text_config.max_position_embeddings)
    encoded = tokenizer(given)["input_ids"]
    _check_tokens(given, encoded, longest, int(model.config.text_config.vocab_size))
    _check_differ(names, encoded[:: len(templates)])
    fixed = model.config.model_type == "siglip"
    padding = {"padding": "max_length", "max_length": longest} if fixed else {"padding": True}
    found = []
    for start in range(0, len(given), BATCH):
        batch = tokenizer(given[start : start + BATCH], return_tensors="pt", **padding)
        mask = {} if fixed else {"attention_mask": batch["attention_mask"]}
        with torch.no_grad():
            vectors = model.get_text_features(input_ids=batch["input_ids"], **mask).pooler_output
        found.append(F.normalize(vectors, dim=-1))
    means = torch.cat(found).reshape(len(names), len(templates), -1).mean(dim=1)
    vectors = F.normalize(means, dim=-1)
    if not torch.isfinite(vectors).all():
        raise InputError("the embeddings of its class names are not finite; its text tower is damaged")
    return vectors


def _check_tokens(given: Sequence[str], encoded: Sequence[Sequence[int]], longest: int, known: int) -> None:
    for text, ids in zip(given, encoded, strict=True):
        if len(ids) > longest:
            raise InputError(
                f"the text {text!r} has {len(ids)} tokens, and its text tower reads {longest}; shorten the template or "
                "the name (templates, classes)"
            )
        if max(ids, default=0) >= known:
            raise InputError(
                f"its text tower knows {known} tokens, but its tokenizer gave token {max(ids)}; use the model's own "
                "tokenizer"
            )


def _check_differ(names: Sequence[str], encoded: Sequence[Sequence[int]]) -> None:
    """Raise InputError if two names give the same tokens in a text: the first would always be taken for the second."""
    first: dict[tuple[int, ...], str] = {}
    for name, ids in zip(names, encoded, strict=True):
        if (same := first.setdefault(tuple(ids), name)) != name:
            raise InputError(
                f"the classes {same!r} and {name!r} are the same text for its tokenizer; give them names that differ "
                "in words that it knows (classes in the workload)"
            )
