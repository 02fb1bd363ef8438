"""Models on the hub: a repository's contents, read before anything large is downloaded, and a resumable download.

Imports huggingface_hub only when it is needed: that takes half a second.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from filelock import FileLock

from storage.errors import BaseModelError
from storage.files import sha256_of

HUB_FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "tokenizer.model", "README.md", "LICENSE*", "LICENCE*")
LEFT_ON_THE_HUB = ("*/*", "consolidated*")
"""Other formats of the same weights, which are not downloaded."""
WEIGHTS_SUFFIX = ".safetensors"
SHA256_DIGITS = 64
PART_SUFFIX = ".part"
TOKEN_VARIABLE = "HF_TOKEN"

Advance = Callable[[int, int], None]
"""Called with the bytes downloaded so far and in all."""


@dataclass(frozen=True)
class HubModel:
    """The files of a repository that Reactune uses, at one commit."""

    hub_id: str
    commit: str
    sizes: Mapping[str, int]
    """Bytes by file name."""
    others: frozenset[str]
    """Names of files that are not used, such as pickles."""

    @property
    def page(self) -> str:
        return _page_of(self.hub_id)

    @property
    def weight_bytes(self) -> int:
        return sum(size for name, size in self.sizes.items() if name.endswith(WEIGHTS_SUFFIX))

    @property
    def missing_bytes(self) -> int:
        """Number of bytes that a download still has to fetch."""
        return sum(size for name, size in self.sizes.items() if not self.is_here(name))

    def is_here(self, name: str) -> bool:
        from huggingface_hub import try_to_load_from_cache

        return isinstance(try_to_load_from_cache(self.hub_id, name, revision=self.commit), str)


def find_on_hub(hub_id: str) -> HubModel:
    """Return the present contents of the repository on the hub; raises BaseModelError with a remedy."""
    from huggingface_hub import HfApi
    from huggingface_hub.utils import filter_repo_objects

    with explaining_hub_errors(hub_id):
        found = HfApi().model_info(hub_id, files_metadata=True)
    sizes = {file.rfilename: file.size or 0 for file in found.siblings or ()}
    used = set(filter_repo_objects(sizes, allow_patterns=list(HUB_FILES), ignore_patterns=list(LEFT_ON_THE_HUB)))
    chosen = {name: size for name, size in sizes.items() if name in used}
    return HubModel(hub_id, str(found.sha), chosen, frozenset(sizes.keys() - used))


def fetch_descriptions(model: HubModel, folder: Path) -> None:
    """Download everything but the weights into a folder, a few megabytes."""
    from huggingface_hub import hf_hub_download

    with explaining_hub_errors(model.hub_id):
        for name in model.sizes:
            if not name.endswith(WEIGHTS_SUFFIX):
                hf_hub_download(model.hub_id, name, revision=model.commit, local_dir=folder)


def find_downloaded(hub_id: str) -> Path | None:
    """Return the folder of a completely downloaded model, without asking the hub for a newer one.

    A base changes only on request: versions are bound to its files.
    """
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = _snapshot(hub_id, local_files_only=True)
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    # Another program may have fetched small files only, which huggingface_hub does not notice.
    return folder if any(folder.glob(f"*{WEIGHTS_SUFFIX}")) else None


def download(model: HubModel, advance: Advance) -> Path:
    """Download the missing files, and return the model's folder; raises BaseModelError.

    An interrupted download continues where it stopped, even in another process: huggingface_hub resumes only within
    one. Its cache gets the weights under its own names for them, and it fetches the small files itself.
    """
    total = sum(model.sizes.values())
    done = total - model.missing_bytes
    with explaining_hub_errors(model.hub_id, resumes=True):
        for name, size in model.sizes.items():
            if name.endswith(WEIGHTS_SUFFIX) and not model.is_here(name):
                _fetch_weights(model, name, lambda here, before=done: advance(before + here, total))
                done += size
        folder = _snapshot(model.hub_id, model.commit)
        _keep_as_newest(folder)
    advance(total, total)
    return folder


def _snapshot(hub_id: str, revision: str | None = None, *, local_files_only: bool = False) -> Path:
    from huggingface_hub import snapshot_download
    from tqdm import tqdm

    quiet: Any = partial(tqdm, disable=True)
    folder = snapshot_download(
        hub_id,
        revision=revision,
        allow_patterns=list(HUB_FILES),
        ignore_patterns=list(LEFT_ON_THE_HUB),
        local_files_only=local_files_only,
        tqdm_class=quiet,
    )
    return Path(folder)


def _keep_as_newest(snapshot: Path) -> None:
    """Let the cache's main branch name this snapshot, which huggingface_hub does only if it was asked for the branch.

    The branch itself may have moved to other weights during the download.
    """
    from huggingface_hub import constants

    branch = snapshot.parent.parent / "refs" / constants.DEFAULT_REVISION
    branch.parent.mkdir(exist_ok=True)
    branch.write_text(snapshot.name, encoding="utf-8")


def _fetch_weights(model: HubModel, name: str, advance: Callable[[int], None]) -> None:
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get, repo_folder_name
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(model.hub_id, name, revision=model.commit)
    etag = str(get_hf_file_metadata(url).etag)
    blobs = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=model.hub_id, repo_type="model") / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    whole, part = blobs / etag, blobs / (etag + PART_SUFFIX)
    with FileLock(blobs / f"{etag}.lock"):
        if whole.exists():
            return
        with part.open("ab") as file:
            bar = _reporting(advance)
            size, here = model.sizes[name], part.stat().st_size
            if here > size:  # larger than the file, so useless
                file.truncate(here := 0)
            http_get(url, file, resume_size=here, headers=build_hf_headers(), expected_size=size, tqdm_class=bar)
        if len(etag) == SHA256_DIGITS and sha256_of(part) != etag:
            part.unlink()
            raise BaseModelError(f"{name} of {model.hub_id} arrived damaged, and was deleted: start again")
        part.replace(whole)


def _reporting(advance: Callable[[int], None]) -> type:
    """Return a class with the methods of a progress bar that huggingface_hub uses."""

    class Reporting:
        def __init__(self, *_: object, initial: int = 0, **__: object) -> None:
            self._here = initial
            advance(initial)

        def __enter__(self) -> Reporting:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def update(self, n: float | None = 1) -> None:
            self._here += int(n or 0)
            advance(self._here)

    return Reporting


@contextmanager
def explaining_hub_errors(hub_id: str, *, resumes: bool = False) -> Iterator[None]:
    """Turn the hub's errors into a BaseModelError with the problem, the place and the remedy.

    `resumes` if another attempt continues where this one stopped.
    """
    from huggingface_hub.errors import HFValidationError, HTTPError
    from huggingface_hub.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()  # it announces each retry
    try:
        yield
    except HFValidationError as error:
        raise BaseModelError(f"{hub_id} is not a name on the hub: write owner/name") from error
    except JSONDecodeError as error:
        raise BaseModelError(
            f"{_endpoint()} answered about {hub_id} as no hub does, such as with the page of a proxy: "
            "check the connection, HTTPS_PROXY and HF_ENDPOINT"
        ) from error
    except (HTTPError, OSError) as error:  # most of the hub's own errors are subclasses of OSError
        raise BaseModelError(_sentence(hub_id, error, resumes=resumes)) from error
    finally:
        logging.set_verbosity(level)


def _endpoint() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT


def _page_of(hub_id: str) -> str:
    return f"{_endpoint()}/{hub_id}"


def _sentence(hub_id: str, error: Exception, *, resumes: bool) -> str:
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        variable = "HF_HUB_OFFLINE" if "HF_HUB_OFFLINE" in os.environ else "TRANSFORMERS_OFFLINE"
        return f"{hub_id} cannot be looked up on the hub, because {variable} is set: unset it"
    if isinstance(error, HfHubHTTPError) and error.response is not None:
        return _refusal(hub_id, error, error.response.status_code)
    if isinstance(error, OSError) and error.errno is not None:  # a full disk, a folder that cannot be written
        place = error.filename or constants.HF_HUB_CACHE
        return f"{hub_id} cannot be stored ({place}: {error.strerror}): free some space, or set HF_HOME to another disk"
    what, again = ("downloaded", ", which continues where it stopped") if resumes else ("looked up", "")
    return (
        f"{hub_id} cannot be {what}, because the hub at {constants.ENDPOINT} is unreachable "
        f"({type(error).__name__}): check the connection and try again{again}"
    )


def _refusal(hub_id: str, error: Exception, status: int) -> str:
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, RepositoryNotFoundError

    page = _page_of(hub_id)
    if isinstance(error, GatedRepoError) and get_token():
        return (
            f"{hub_id} is gated, and the account of the token in {TOKEN_VARIABLE} may not read it: accept its terms at "
            f"{page} with that account (the owner may have to approve), then try again"
        )
    if isinstance(error, GatedRepoError):
        return (
            f"{hub_id} is gated: accept its terms at {page}, create a token that can read it at "
            f"{constants.ENDPOINT}/settings/tokens, and set it as {TOKEN_VARIABLE}"
        )
    if status == HTTPStatus.UNAUTHORIZED and get_token():
        place = TOKEN_VARIABLE if os.environ.get(TOKEN_VARIABLE) else constants.HF_TOKEN_PATH
        return f"{constants.ENDPOINT} does not accept the token in {place} (HTTP 401): replace it"
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"{hub_id} does not exist on the hub, or is private: check the spelling at {page}, or set "
            f"{TOKEN_VARIABLE} to a token that can read it"
        )
    if status == HTTPStatus.NOT_FOUND and not isinstance(error, EntryNotFoundError):
        return f"{hub_id} does not exist on the hub at {constants.ENDPOINT}: check the spelling"
    return f"the hub refused {hub_id} (HTTP {status}): try again later"
