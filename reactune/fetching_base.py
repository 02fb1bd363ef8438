"""Downloads a base model, converts it and compares OpenVINO's graph of it; the settings do not change."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from bot.errors import EngineStopped
from reactune.shared import notes, progress
from storage.errors import BaseModelError, SettingsError
from storage.settings.sections import Settings

if TYPE_CHECKING:
    from storage.models.base_model import BaseModel
    from storage.models.base_offer import BaseOffer


def require_space(offer: BaseOffer, settings: Settings) -> None:
    """Raise an error if the base does not fit on the disk, or a conversation not into its context."""
    from bot.engine.rendering import require_first_prompt
    from storage.models.disk_space import require_disk_space

    require_disk_space(offer, settings)
    if offer.chat is None:
        return
    try:
        require_first_prompt(offer.chat, offer.window, settings)
    except EngineStopped as error:  # the small files of a download are in a folder that is gone
        raise SettingsError(str(error).replace(offer.chat.tokenizer.name_or_path, offer.name)) from error


def fetch_base(offer: BaseOffer, settings: Settings) -> BaseModel:
    """Return the model, ready to answer; whatever stops this is continued by the next call."""
    with _download_bar(offer) as advance:
        offer.download(advance)
    with progress() as say:
        return _prepare(offer, settings, say)


@contextlib.contextmanager
def _download_bar(offer: BaseOffer) -> Iterator[Callable[[int, int], None]]:
    """Show a bar in a terminal, else a line for each tenth."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    from storage.models.base_model import report_tenths

    if not notes.is_terminal:
        yield report_tenths(lambda sentence: notes.print(sentence, markup=False, highlight=False), offer.name)
        return
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress("Downloading", *columns, console=notes, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _prepare(offer: BaseOffer, settings: Settings, say: Callable[[str], None]) -> BaseModel:
    """Convert the base if needed, check its files, and compare OpenVINO's graph with transformers."""
    from storage.models.base_model import require_loadable, resolve_base_model
    from storage.models.openvino.support import UnloadableModel, UnsupportedModel
    from storage.models.openvino.verifier import Verifier, prefers_graphs

    model = resolve_base_model(offer.setting, settings.data.directory, say)
    if settings.model.engine != "remote":
        require_loadable(model.path)  # of a download, only the small files were examined
    if prefers_graphs(settings.model):
        say(f"Comparing OpenVINO with transformers on {model.name} …")
        try:
            graphs = Verifier(model, settings.data.directory, settings.model).require(keep_others=True)
            say(f"OpenVINO will answer with {graphs.verdict.describe()}.")
        except UnloadableModel as error:
            raise BaseModelError(str(error)) from error
        except UnsupportedModel as error:
            if settings.model.engine == "openvino":
                raise SettingsError(
                    f'OpenVINO cannot serve {model.name} ({error}): set model.engine = "auto", or choose another model'
                ) from error
            notes.print(f"transformers will answer, because OpenVINO cannot: {error}", markup=False, highlight=False)
    return model
