"""Upload of an artifact to the Hugging Face hub, with its card and no other files.

Every file is first checked against the artifact's manifest. Address and token of the hub are those of huggingface_hub
(`HF_ENDPOINT`, `HF_TOKEN`). No torch is needed.
"""

import glob
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from compress.base import reading
from compress.base.config import InputError
from compress.base.console import say
from compress.base.errors import as_input_error
from compress.base.files import SPELLED
from compress.data.hub import is_id
from compress.model.manifest import MANIFEST, MOST_BYTES
from compress.records.result import Result
from compress.report.card import CARD, card, measured_manifest, write_card

LOGIN = "log in with `hf auth login`, or set HF_TOKEN to a token with write access"


def push(result: Result, artifact: Path, repo: str, private: bool = False, recipes: int = 1) -> str:
    """Upload the artifact and its card, and return the address of the commit. A missing card is written first.

    `recipes`: how many recipes the verdict on it is adjusted for.

    Raises InputError if the artifact is not the one measured, or if the hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi

    if repo.count("/") != 1 or not is_id(repo):
        raise InputError(f"--repo {repo}: expected user/name or organization/name, as on the hub")
    manifest = measured_manifest(result, artifact)
    _ready(repo)
    if (artifact / CARD).is_file():
        _check_card(artifact / CARD)
        if _written_otherwise(artifact, result, manifest, recipes):
            say(
                f"{artifact / CARD} is sent as it is: it differs from the card that these results give; to have that "
                f"one written, remove it and push again"
            )
    else:
        write_card(result, artifact, recipes)
    files = [*manifest["files"], MANIFEST, CARD]
    api = HfApi()
    with _refusals(repo):
        api.create_repo(repo, private=private or None, exist_ok=True)
        if private and not api.repo_info(repo).private:
            raise InputError(
                f"--repo {repo}: already exists and is public; make it private on the hub, choose another name, or "
                "remove --private"
            )
        commit = api.upload_folder(
            repo_id=repo,
            folder_path=artifact,
            commit_message=f"{result.name}, measured by compress {result.code_version}",
            allow_patterns=[glob.escape(name) for name in files],  # other files in the folder stay private
        )
    return str(commit.commit_url)


def _written_otherwise(artifact: Path, result: Result, manifest: Mapping[str, Any], recipes: int) -> bool:
    """Return whether the artifact's card is not the one of this result among its table: edited, or older."""
    made = card(result, manifest["plain"], manifest["kind"], recipes=recipes)
    return (artifact / CARD).read_bytes() != made.encode(errors=SPELLED)


def _ready(repo: str) -> None:
    """Check mode and token before contacting the hub. Raises InputError if nothing can be uploaded."""
    from huggingface_hub import constants, get_token

    place = f"--repo {repo}: the token"
    if constants.is_offline_mode():
        raise InputError(f"--repo {repo}: HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) is set; unset it to upload")
    with as_input_error(lambda reason: f"{place} cannot be read from {constants.HF_TOKEN_PATH} ({reason}); {LOGIN}"):
        token = get_token()
    if token is None:
        raise InputError(f"--repo {repo}: no token for {constants.ENDPOINT}; {LOGIN}")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(f"{place} has characters that are invalid in a token; {LOGIN}")


def _check_card(place: Path) -> None:
    """Check an existing card. Raises InputError if it is not text, or if the hub could not read its head."""
    from huggingface_hub import ModelCard

    expected = "expected text with a YAML head; correct it, or remove it to have a new one written"
    with as_input_error(lambda reason: f"{place}: cannot be read as a card ({reason}); {expected}"):
        ModelCard(reading.content(place, "card", MOST_BYTES).decode())


@contextmanager
def _refusals(repo: str) -> Iterator[None]:
    """Turn errors of the hub and the network into an InputError with one sentence that says what to do."""
    from httpx2 import HTTPError, InvalidURL
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except InputError:
        raise
    except HfHubHTTPError as error:
        raise InputError(f"--repo {repo}: {_refusal(repo, error)}") from None
    except (HTTPError, InvalidURL, ConnectionError) as error:
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise InputError(
            f"--repo {repo}: {constants.ENDPOINT} cannot be reached ({reason}); check the network and HF_ENDPOINT, and "
            "run the same command again: files already uploaded are not sent again"
        ) from None
    except RuntimeError as error:  # the client wraps the error of a large file
        cause = error.__cause__
        why = _refusal(repo, cause) if isinstance(cause, HfHubHTTPError) else str(cause or error)
        raise InputError(f"--repo {repo}: {error} {why}") from None
    except ValueError as error:  # the hub's check of the card
        raise InputError(
            f"--repo {repo}: {' '.join(str(error).split())}; correct {CARD}, or remove it to have a new one written"
        ) from None


def _refusal(repo: str, error: Any) -> str:
    """Return a sentence for a refusal of the hub, by its status."""
    status, message = error.response.status_code, error.server_message
    quoted = f" (message of the hub: {message})" if message else ""
    if status == 401:
        return f"the token is not valid or has no write access{quoted}; {LOGIN}"
    if status in (403, 404):
        owner = repo.split("/", maxsplit=1)[0]
        return f"this token has no write access to {owner}'s repositories{quoted}; use your own name, or another token"
    return f"refused with status {status}{quoted}"
