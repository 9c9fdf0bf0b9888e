"""Models and data sets on the Hugging Face hub: resolve a name to its current commit.

Requesting one small file gives the commit: online from the hub, offline from the cache.
"""

import os
import re
import ssl
import urllib.error
import urllib.request
from contextlib import suppress
from functools import cache
from glob import escape
from pathlib import Path
from typing import Literal

from compress.base.config import InputError
from compress.base.console import say
from compress.data import checkpoints, offline
from compress.data.checkpoints.files import INDEX, WHOLE
from compress.data.checkpoints.folder import is_whole, weights_read
from compress.data.split_files import kind

PATIENCE_S = 10

ID = re.compile(r"(?:[A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*", re.ASCII)
WAYS_OUT = (
    f"use an offline workload ({', '.join(offline.names())}), a workload file with local folders (compress init), or "
    "download it once into the cache (HF_HOME) while online"
)


def is_id(value: str) -> bool:
    """Return whether a value could be a hub id: `name` or `owner/name`, but not a file name."""
    if len(value) > 96 or ".." in value or "--" in value or any(part[-1:] in "-." for part in value.split("/")):
        return False
    return bool(ID.fullmatch(value)) and not kind(Path(value)) and Path(value).suffix != ".git"


class Unreachable(InputError):
    """The hub cannot be reached, and the cache lacks the requested model or data.

    `no_folder` says where no folder of this name was found; it is empty if none was expected.
    """

    def __init__(self, what: str, no_folder: str = ""):
        places = f"{no_folder}, and " if no_folder else ""
        super().__init__(
            f"{what}: {places}the Hugging Face hub could not be reached, and the cache does not have it; {WAYS_OUT}"
        )
        self.what = what
        self.no_folder = no_folder


@cache
def reachable() -> bool:
    """Return whether the hub answers, checked once: the library itself would retry each file for half a minute."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        with urllib.request.urlopen(urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=PATIENCE_S):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError as error:
        if isinstance(getattr(error, "reason", error), ssl.SSLError):
            return True  # the library may be configured with other certificates than Python's
    say("the Hugging Face hub cannot be reached; only models and data in its cache are available")
    os.environ["HF_HUB_OFFLINE"] = "1"  # for the measuring process
    return False


def has(repo: str, file: str, revision: str) -> bool:
    """Return whether a model has this file, by the cache or the hub."""
    from huggingface_hub import HfApi, errors, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(repo, file, revision=revision), str):
        return True
    if not reachable():
        return False
    try:
        return HfApi().file_exists(repo, file, revision=revision)
    except (OSError, errors.HfHubHTTPError):
        return False


def pickles(model: str, commit: str) -> list[str]:
    """Return the pickled weights of a hub model; empty if it has safetensors."""
    stems = ("model.safetensors", "pytorch_model.bin")
    weights, pickled = ([n for n in (stem, f"{stem}.index.json") if has(model, n, commit)] for stem in stems)
    return [] if weights else pickled


def cached(repo: str, revision: str) -> Path | None:
    """Return the cache folder with a model's configuration, and perhaps its weights, at a commit; or None."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(repo, "config.json", revision=revision)
    return Path(config).parent if isinstance(config, str) else None


def with_card(repo: str, revision: str) -> Path | None:
    """Return the cache folder of a model at a commit, with its card if the hub or the cache has one."""
    from huggingface_hub import errors, hf_hub_download

    with suppress(OSError, errors.EntryNotFoundError, errors.HfHubHTTPError):  # without a card its facts stay unknown
        hf_hub_download(repo, "README.md", revision=revision, local_files_only=not reachable())
    return cached(repo, revision)


def with_side_files(repo: str, revision: str) -> Path | None:
    """Return the cache folder of a model at a commit, with its small files: settings and tokenizer, no weights."""
    from huggingface_hub import errors, snapshot_download

    if reachable():
        with suppress(OSError, errors.HfHubHTTPError):  # the cache may have them
            snapshot_download(repo, revision=revision, allow_patterns=["*.json", "*.txt", "*.model", "*.spm"])
    return cached(repo, revision)


def problems(repo: str, revision: str) -> list[str]:
    """Return why a cached model cannot be loaded, one sentence each; without weights, check the configuration only."""
    folder = cached(repo, revision)
    if folder is None:
        return []
    return checkpoints.problems(folder) if is_whole(folder) else checkpoints.config_problems(folder)


def fetched(repo: str, revision: str) -> Path | None:
    """Return the cache folder with a model's weights, downloaded now; None if they are unavailable.

    In that case, loading the model reports the missing files.
    """
    from huggingface_hub import errors, snapshot_download

    folder = cached(repo, revision)
    if folder is None or not reachable():
        return None
    try:
        snapshot_download(repo, revision=revision, allow_patterns=[WHOLE, INDEX])
        if not is_whole(folder):
            names = [escape(file.name) for file in weights_read(folder)]
            snapshot_download(repo, revision=revision, allow_patterns=names)
    except (OSError, errors.HfHubHTTPError):
        return None
    return folder if is_whole(folder) else None


def commit(repo: str, kind: Literal["model", "dataset"], revision: str | None) -> str:
    """Return the commit of a hub id (at a revision). Raises InputError that names what could not be reached."""
    from huggingface_hub import errors, hf_hub_download

    place = f"{kind} {repo}{f' at {revision}' if revision else ''}"
    for file in ("config.json",) if kind == "model" else ("README.md", ".gitattributes"):
        try:
            path = hf_hub_download(repo, file, repo_type=kind, revision=revision, local_files_only=not reachable())
            return Path(path).parent.name  # .../snapshots/<commit>/<file>
        except errors.GatedRepoError:
            raise InputError(
                f"{place}: needs an accepted licence on the hub; accept it and log in, or {WAYS_OUT}"
            ) from None
        except errors.RevisionNotFoundError:
            raise InputError(f"{place}: no such revision on the hub") from None
        except errors.RepositoryNotFoundError:
            raise InputError(f"{place}: no such folder, and no such public {kind} on the hub; check the name") from None
        except errors.LocalEntryNotFoundError:
            raise Unreachable(place) from None
        except errors.EntryNotFoundError:
            continue
        except errors.HFValidationError as error:
            raise InputError(f"{place}: not a hub id ({error})") from None
        except (OSError, errors.HfHubHTTPError) as error:
            raise InputError(f"{place}: the hub returned an error ({type(error).__name__}); {WAYS_OUT}") from None
    raise InputError(f"{place}: has no {'config.json; it is not a transformers model' if kind == 'model' else 'files'}")


def download(repo: str, file: str, revision: str) -> Path:
    """Return the path of a file of a data set's repository, from the hub or its cache."""
    from huggingface_hub import errors, hf_hub_download

    try:
        return Path(
            hf_hub_download(repo, file, repo_type="dataset", revision=revision, local_files_only=not reachable())
        )
    except errors.LocalEntryNotFoundError:
        raise Unreachable(f"{file} of dataset {repo}") from None
    except errors.EntryNotFoundError:
        raise InputError(f"dataset {repo}: has no file {file}; set dataset.train and dataset.test") from None
