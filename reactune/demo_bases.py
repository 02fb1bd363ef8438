"""Base models that the demo's page offers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from bot.demo.bases import BaseSource, OfferedBase
from reactune.models import DISK_BYTES, ORDER, Candidate, Machine, candidates
from storage.database.database import open_database
from storage.models.base_model import Advance
from storage.models.base_offer import examine_base
from storage.models.hub import find_downloaded
from storage.models.known_bases import PACKAGED
from storage.releases.bases import bases_used
from storage.settings.sections import Settings

SETTINGS = {name: setting for setting, name in PACKAGED.items()}
"""{name on the hub: model.base} of the bases that come with Reactune."""


def bases_to_choose(settings: Settings) -> BaseSource:
    def find() -> list[OfferedBase]:
        machine = Machine.here(settings.data.directory)
        found = [_offered(one, settings.model.base) for one in candidates(settings, machine) if one.fits in ORDER]
        found += [_offered(one, folder, is_earlier=True) for folder, one in _earlier_folders(settings, machine)]
        return sorted(found, key=lambda base: base.parameters)

    def fetch(which: str, advance: Advance) -> None:
        examine_base(which, settings).download(advance)

    return BaseSource(find, fetch)


def _earlier_folders(settings: Settings, machine: Machine) -> Iterator[tuple[str, Candidate]]:
    """Yield the folders of bases that answered here before: no list names them, so nobody could go back to one."""
    with closing(open_database(settings)) as database:
        used = dict.fromkeys(base.setting for base in database.fetch(bases_used))  # one was used with other weights too
    for setting in used:
        if setting not in {settings.model.base, *PACKAGED} and Path(setting).expanduser().is_dir():
            model = settings.model.model_copy(update={"base": setting})
            found = candidates(settings.model_copy(update={"model": model}), machine)
            yield from ((setting, one) for one in found if one.configured and one.fits in ORDER)


def _offered(one: Candidate, configured: str, *, is_earlier: bool = False) -> OfferedBase:
    """`configured` is the value of model.base for which the candidate would be the configured one."""
    is_here = one.configured or one.name in SETTINGS or find_downloaded(one.name) is not None
    return OfferedBase(
        setting=configured if one.configured else SETTINGS.get(one.name, one.name),
        name=one.name,
        licence=one.licence,
        parameters=one.parameters,
        download=0 if is_here else DISK_BYTES * one.parameters,
        fits=one.fits,
        is_in_use=one.configured and not is_earlier,
    )
