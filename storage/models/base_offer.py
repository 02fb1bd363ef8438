"""Describes a base model, and checks the disk for it, before anything large is downloaded or changed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from storage.errors import BaseModelError, SettingsError
from storage.files import read_json_object
from storage.models.adapter_checks import PICKLES
from storage.models.base_model import (
    BUNDLED,
    BUNDLED_LICENCE,
    BUNDLED_NAME,
    CONFIG_FILE,
    HUB_ID,
    INDEX_FILE,
    Advance,
    explaining_unreadable_files,
    licence_in,
    require_chat_model,
    require_loadable,
    window_of,
)
from storage.models.chat_format import ChatFormat, load_chat_format
from storage.models.conversion import GEMMA
from storage.models.free_memory import existing_part, free_disk
from storage.models.hub import HubModel, fetch_descriptions, find_downloaded, find_on_hub
from storage.models.hub import download as download_model
from storage.models.layer_names import weight_files
from storage.models.memory import graph_bytes
from storage.models.openvino.verifier import prefers_graphs
from storage.models.seeing import can_see
from storage.models.shape import ModelShape
from storage.settings.sections import Settings
from storage.wording import format_bytes

GGUF = re.compile(r".*\.gguf")
WELL_KNOWN_LICENCES = frozenset({"apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause"})


@dataclass(frozen=True)
class BaseOffer:
    """A base model that can be used."""

    setting: str
    """The value for model.base."""
    name: str
    licence: str
    licence_text: str = ""
    """Text of an uncommon licence; empty if the model has no file of it."""
    weight_bytes: int = 0
    """Bytes of the weights; 0 if they come with Reactune."""
    on_hub: HubModel | None = None
    architecture: str = ""
    shape: ModelShape | None = None
    """The model's sizes; None if it comes with Reactune, or if config.json lacks a size."""
    chat: ChatFormat | None = None
    """The model's chat format; None if it comes with Reactune."""
    window: int = 0
    """The context in tokens; 0 if it comes with Reactune."""
    sees: bool = False
    """True if transformers can look at pictures with it."""

    @property
    def download_bytes(self) -> int:
        return self.on_hub.missing_bytes if self.on_hub else 0

    def download(self, advance: Advance) -> None:
        if self.on_hub and self.on_hub.missing_bytes:
            download_model(self.on_hub, advance)


@explaining_unreadable_files()
def examine_base(which: str, settings: Settings) -> BaseOffer:
    """Return the facts about a base from its small files.

    Raises SettingsError if there is no such base, BaseModelError if Reactune cannot use it. `which` is "bundled", a
    folder, or a hub ID. For a model on the hub that was not downloaded before, only the small files are fetched, into a
    folder that is then deleted.
    """
    if which in (BUNDLED, GEMMA):
        licence = BUNDLED_LICENCE if which == BUNDLED else "gemma"
        return BaseOffer(which, BUNDLED_NAME if which == BUNDLED else GEMMA, licence)
    folder = Path(which).expanduser()
    if which.strip() and folder.is_dir():  # an empty name is the working directory's
        folder = folder.resolve()
        return _examine(folder, str(folder), folder.name, None, settings)
    if HUB_ID.fullmatch(which) is None:
        raise SettingsError(
            f"{which!r} is not a base model: give {BUNDLED!r}, {GEMMA!r}, an existing folder, or a hub ID (owner/name)"
        )
    if downloaded := find_downloaded(which):
        return _examine(downloaded, which, which, None, settings)
    found = find_on_hub(which)
    _require_weights(found)
    with TemporaryDirectory(prefix="reactune-") as name:
        fetch_descriptions(found, Path(name))
        try:
            return _examine(Path(name), which, which, found, settings)
        except BaseModelError as error:
            raise BaseModelError(str(error).replace(name, which)) from error


def _examine(folder: Path, setting: str, name: str, on_hub: HubModel | None, settings: Settings) -> BaseOffer:
    architecture = require_chat_model(folder, has_weights=on_hub is None)
    if settings.model.engine != "remote":
        require_loadable(folder)
    if on_hub is not None:
        _require_shards(folder, on_hub)
    # Raises an error if the chat template cannot render a conversation.
    chat = load_chat_format(folder, settings.model.template_options)
    licence = licence_in(folder)
    weights = on_hub.weight_bytes if on_hub else sum(file.stat().st_size for file in weight_files(folder))
    text = _licence_text(folder, licence)
    window = window_of(folder, settings.model)
    shape, sees = _shape_of(folder), can_see(folder)
    return BaseOffer(setting, name, licence, text, weights, on_hub, architecture, shape, chat, window, sees)


def _shape_of(folder: Path) -> ModelShape | None:
    try:
        return ModelShape.of(read_json_object(folder / CONFIG_FILE))
    except KeyError:
        return None


def _require_weights(model: HubModel) -> None:
    if model.weight_bytes:
        return
    if pickles := sorted(name for name in model.others if Path(name).suffix.lower() in PICKLES):
        raise BaseModelError(
            f"{model.hub_id} has no safetensors weights, only pickles such as {pickles[0]}, which can run code when "
            "they are loaded: choose a repository with safetensors"
        )
    if any(GGUF.fullmatch(name) for name in model.others):
        raise BaseModelError(
            f"{model.hub_id} has GGUF files only, which rounds cannot train: choose the repository that they were made "
            "from (the model card names it)"
        )
    raise BaseModelError(f"{model.hub_id} has no weights: choose a repository of a whole chat model")


def _require_shards(folder: Path, model: HubModel) -> None:
    index = folder / INDEX_FILE
    named = set(read_json_object(index).get("weight_map", {}).values()) if index.is_file() else set()
    if missing := sorted(named - model.sizes.keys()):
        raise BaseModelError(f"{model.hub_id} lacks {missing[0]}, which its {INDEX_FILE} names: choose another model")


def _licence_text(folder: Path, licence: str) -> str:
    if licence in WELL_KNOWN_LICENCES:
        return ""
    files = sorted(file for file in folder.iterdir() if file.name.upper().startswith(("LICENSE", "LICENCE")))
    return files[0].read_text(encoding="utf-8", errors="replace").strip() if files else ""


def require_disk_space(offer: BaseOffer, settings: Settings) -> None:
    """Raise BaseModelError if the download and the graphs made from it do not fit on the disk."""
    for folder, needed in _needs(offer, settings).items():
        free = free_disk(folder)
        if needed > free:
            raise BaseModelError(
                f"{offer.name} needs {format_bytes(needed)} in {folder}, where {format_bytes(free)} are free: free "
                "some space, set HF_HOME to another disk (downloads), or change data.directory (graphs)"
            )


def _needs(offer: BaseOffer, settings: Settings) -> dict[Path, float]:
    """Return {folder: needed bytes}; folders on one disk are counted as one."""
    from huggingface_hub import constants

    shape = offer.shape if prefers_graphs(settings.model) else None
    graphs = graph_bytes(shape) if shape else 0
    needs: dict[int, tuple[Path, float]] = {}
    for folder, size in ((Path(constants.HF_HUB_CACHE), offer.download_bytes), (settings.data.directory, graphs)):
        existing = existing_part(folder)
        known, sum_ = needs.get(existing.stat().st_dev, (existing, 0))
        needs[existing.stat().st_dev] = known, sum_ + size
    return dict(needs.values())
