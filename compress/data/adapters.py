"""LoRA adapters as models: merged once into the base model, and cached as an ordinary model folder.

    adapter_config.json names the base model        base weights + B A (times alpha / rank)  ->  one plain folder

The merged model is equivalent to base and adapter (Hu et al. 2021, arXiv:2106.09685, section 4.1). peft merges them.
"""

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from compress.base.config import InputError, digest
from compress.base.console import say
from compress.base.errors import as_input_error
from compress.base.files import content_hash
from compress.base.reading import exists, expanded
from compress.data import checkpoints, pickles
from compress.data.cached import made_once
from compress.data.checkpoints import files
from compress.data.tasks import task_of
from compress.data.workload import Workload

WEIGHTS = "adapter_model.safetensors"
TOKENIZERS = ("tokenizer", "preprocessor", "processor", "vocab", "merges", "special_tokens", "spiece", "sentencepiece")


def can_merge(folder: Path) -> bool:
    """Return whether a folder is an adapter and peft is installed."""
    return checkpoints.is_adapter(folder) and find_spec("peft") is not None


def merged(folder: Path, workload: Workload) -> Path:
    """Return the folder of an adapter merged into its base model. Raises InputError if they do not match."""
    place = f"{workload.name} model {folder}"
    if problems := files.problems(folder):
        raise InputError(f"{place}: {problem}" for problem in problems)
    if not (folder / WEIGHTS).is_file():
        names = ", ".join(sorted(file.name for file in folder.glob("adapter_model.*"))) or "no weights"
        raise InputError(f"{place}: holds {names}; expected {WEIGHTS}: load the adapter with peft and save it again")
    base, problems = checkpoints.base_of(folder)
    if base is None:
        raise InputError(f"{place}: {problem}" for problem in problems)
    sibling = folder / base
    local = next((path for path in (sibling, expanded(base)) if exists(path)), None)
    if local is not None:
        if problems := checkpoints.problems(local):
            raise InputError(f"{place}: its base model {local}: {problem}" for problem in problems)
        base, base_key = str(local), content_hash(local)
    else:
        base_key = _hub_commit(base, place, workload)
    key = digest([content_hash(folder), base_key, workload.task, workload.trust_remote_code])
    from compress.base.files import cache_folder

    result = made_once(
        cache_folder() / f"merged-{key}",
        f"the model of {folder.name} merged into {Path(base).name}",
        lambda target: (target / "config.json").is_file() and any(target.glob(pickles.WEIGHTS)),
        lambda target: _merge(folder, base, place, workload, target),
    )
    say(f"{place}: is an adapter, merged into its base model {base}; the merged model is cached in {result}")
    return result


def _hub_commit(base: str, place: str, workload: Workload) -> str:
    """Return the commit of a base model on the hub."""
    from compress.data import hub

    if not hub.is_id(base):
        raise InputError(
            f"{place}: its base model {base} is neither a folder here nor a hub id; set base_model_name_or_path"
        )
    try:
        commit = hub.commit(base, "model", None)
    except InputError as error:
        raise InputError(f"{place}: is an adapter of {base}: {problem}" for problem in error.problems) from None
    if pickled := hub.pickles(base, commit):
        raise InputError(f"{place}: its base model {base}: {pickles.conversion(base, workload.task, pickled)}")
    if problems := hub.problems(base, commit):
        raise InputError(f"{place}: its base model {base}: {problem}" for problem in problems)
    return commit


def _merge(folder: Path, base: str, place: str, workload: Workload, target: Path) -> None:
    """Write the merged model and its tokenizer."""
    from peft import PeftModel
    from safetensors import safe_open

    from compress.data.empty import auto_class

    task, options = task_of(workload.task), {"trust_remote_code": workload.trust_remote_code}
    unmergeable = as_input_error(lambda reason: f"{place}: cannot be merged into its base model {base} ({reason})")
    with unmergeable, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # from peft, about transformers' names
        model, info = auto_class(workload.task).from_pretrained(
            base, dtype="auto", use_safetensors=True, output_loading_info=True, **options
        )
        with safe_open(folder / WEIGHTS, framework="pt") as opened:
            adapted = {name.removeprefix("base_model.model.") for name in opened.keys()}  # noqa: SIM118  not a mapping
        random = sorted(set(info["missing_keys"]) - adapted)
        if random:
            raise InputError(
                f"{place}: neither its base model {base} nor the adapter holds {random[0]}, which would be random; "
                f"expected an adapter trained for {workload.task}"
            )
        combined: Any = PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
        combined.save_pretrained(target)
        has_tokenizer = any(file.name.startswith(TOKENIZERS) for file in folder.iterdir())
        task.load_processor(str(folder) if has_tokenizer else base, **options).save_pretrained(target)
