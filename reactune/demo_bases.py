"""Base models that the demo's page offers."""

from __future__ import annotations

from bot.demo.bases import BaseSource, OfferedBase
from reactune.models import DISK_BYTES, ORDER, Candidate, Machine, candidates
from storage.models.base_model import Advance
from storage.models.base_offer import examine_base
from storage.models.hub import find_downloaded
from storage.models.known_bases import PACKAGED
from storage.settings.sections import Settings

SETTINGS = {name: setting for setting, name in PACKAGED.items()}
"""{name on the hub: model.base} of the bases that come with Reactune."""


def bases_to_choose(settings: Settings) -> BaseSource:
    def find() -> list[OfferedBase]:
        found = candidates(settings, Machine.here(settings.data.directory))
        fitting = [one for one in found if one.fits in ORDER]
        return [_offered(one, settings) for one in sorted(fitting, key=lambda one: one.parameters)]

    def fetch(which: str, advance: Advance) -> None:
        examine_base(which, settings).download(advance)

    return BaseSource(find, fetch)


def _offered(one: Candidate, settings: Settings) -> OfferedBase:
    is_here = one.configured or one.name in SETTINGS or find_downloaded(one.name) is not None
    return OfferedBase(
        setting=settings.model.base if one.configured else SETTINGS.get(one.name, one.name),
        name=one.name,
        licence=one.licence,
        parameters=one.parameters,
        download=0 if is_here else DISK_BYTES * one.parameters,
        fits=one.fits,
        is_in_use=one.configured,
    )
