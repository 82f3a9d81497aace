"""Models on the Hugging Face hub: ``hf:owner/name`` to a file in the local cache, and a file to the hub."""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiotrans.errors import AudiotransError, UsageError, names_extras
from audiotrans.files import file_digest

_log = logging.getLogger(__name__)

PREFIX = "hf:"

FILE = "model.safetensors"
"""Name of the weights in a repository of the hub, where none is asked for."""

CARD = "README.md"

_NAME = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)(?:/(?P<file>[\w./-]+))?(?:@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True)
class Place:
    """A file of a repository.

    Attributes:
        repo: ``owner/name``.
        file: its path there.
        revision: a branch, a tag or a commit; None for the default branch.
    """

    repo: str
    file: str = FILE
    revision: str | None = None


def parse(name: str) -> Place:
    """Read ``hf:owner/name``, ``hf:owner/name/file.safetensors``, each perhaps with ``@revision``.

    Raises:
        UsageError: if it is of another form.
    """
    found = _NAME.fullmatch(name)
    if found is None or any(
        part.strip(".") == "" for part in (found["repo"] + "/" + (found["file"] or "x")).split("/")
    ):
        raise UsageError(f"{name!r} names no model of the hub: write hf:owner/name, or hf:owner/name@revision")
    return Place(found["repo"], found["file"] or FILE, found["revision"])


@names_extras()
def fetch(name: str) -> Path:
    """Return a model of the hub as a file of the local cache, downloaded if it is not there yet, its checksum compared.

    Without a connection the copy that is in the cache is taken, which the log says.

    Args:
        name: see `parse`.

    Raises:
        UsageError: for a name of another form.
        AudiotransError: if there is no such model, it is neither reachable nor in the cache, or it is damaged.
        MissingLibraryError: without huggingface_hub, the extra ``hub``.
    """
    place = parse(name)
    from huggingface_hub import errors, get_hf_file_metadata, hf_hub_download, hf_hub_url

    try:
        expected = get_hf_file_metadata(hf_hub_url(place.repo, place.file, revision=place.revision)).etag
        found = Path(hf_hub_download(place.repo, place.file, revision=place.revision))
    except errors.EntryNotFoundError:
        raise AudiotransError(f"{name}: the repository has no {place.file}{_others(place)}") from None
    except errors.RevisionNotFoundError:
        raise AudiotransError(f"{name}: the repository has no revision {place.revision!r}") from None
    except errors.RepositoryNotFoundError:
        advice = "check the name, or log in first with: hf auth login"
        raise AudiotransError(f"{name}: no such model on the hub, or a private one: {advice}") from None
    except Exception as error:  # what a lost connection raises differs between versions of the library
        found, expected = _cached(name, place, error), None
    check(found, expected or found.resolve().name)
    return found


def _cached(name: str, place: Place, error: Exception) -> Path:
    from huggingface_hub import try_to_load_from_cache

    reason = " ".join(str(error).split())[:120] or type(error).__name__
    found = try_to_load_from_cache(place.repo, place.file, revision=place.revision)
    if not isinstance(found, str):
        text = f"{name} is not in the cache here, and the hub cannot be reached ({reason})"
        raise AudiotransError(f"{text}: connect once, or give the path of a file")
    _log.warning(
        "the hub cannot be reached: taking the copy of %s in the cache (%s)", name, Path(found).parent.name[:12]
    )
    return Path(found)


def _others(place: Place) -> str:
    """Say which weights a repository has."""
    from huggingface_hub import HfApi

    files = [file for file in HfApi().list_repo_files(place.repo, revision=place.revision) if file.endswith("tensors")]
    return f": choose one, such as {PREFIX}{place.repo}/{files[0]}" if files else ", and no other weights file"


def check(path: Path, checksum: str) -> None:
    """Compare a file with its checksum on the hub.

    Args:
        path: the file.
        checksum: SHA-256 of large files, git's SHA-1 of small ones; anything else tells nothing.

    Raises:
        AudiotransError: if they differ.
    """
    if re.fullmatch(r"[0-9a-f]{64}", checksum):
        found = file_digest(path)
    elif re.fullmatch(r"[0-9a-f]{40}", checksum):
        content = path.read_bytes()
        found = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    else:
        return
    if found != checksum:
        raise AudiotransError(
            f"{path} is damaged: its checksum is not the hub's: remove {path.resolve()} and try again"
        )


def linked(card: Path) -> dict[str, Path]:
    """Return the files beside a card that it links to, by name."""
    names = re.findall(r"\]\(([\w.-]+)\)", card.read_text(encoding="utf-8"))
    return {name: card.with_name(name) for name in names if card.with_name(name).is_file()}


@names_extras()
def push(model: Path, card: Path, repo: str, *, private: bool = False, force: bool = False) -> str:
    """Put a model and its card on the hub, in one commit; the repository is made if it is not there.

    Args:
        model: a weights file; `FILE` there.
        card: its card; `CARD` there. Files beside it that it links to, such as pictures and sounds, go with it.
        repo: ``owner/name``; the account is the one of ``hf auth login`` or of ``HF_TOKEN``.
        private: whether a new repository is for its owner's eyes only.
        force: whether to replace a model that is there.

    Returns:
        The address of the commit.

    Raises:
        UsageError: for a name of another form, or a model that is there already.
        AudiotransError: if the hub refuses, or cannot be reached.
    """
    place = parse(PREFIX + repo.removeprefix(PREFIX))
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi()
    try:
        api.create_repo(place.repo, private=private, exist_ok=True)
        if not force and api.file_exists(place.repo, FILE):
            raise UsageError(f"{place.repo} has a {FILE} already: use --force to replace it; its history stays")
        paths = {FILE: model, CARD: card, **linked(card)}
        files: list[Any] = [CommitOperationAdd(name, str(path)) for name, path in paths.items()]
        done = api.create_commit(place.repo, operations=files, commit_message=f"Add {model.stem}")
    except AudiotransError:
        raise
    except Exception as error:  # see fetch
        reason = " ".join(str(error).split())[:300]
        raise AudiotransError(f"{place.repo} cannot be written ({reason}); to log in: hf auth login") from None
    return str(done.commit_url)
