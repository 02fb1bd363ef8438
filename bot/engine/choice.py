"""Which engine answers: the fast one where it can, transformers where not."""

from __future__ import annotations

import logging

from bot.engine.local import LocalEngine
from bot.engine.protocol import Engine
from bot.errors import EngineStopped
from storage.base_model import BaseModel
from storage.settings import Settings

log = logging.getLogger(__name__)


async def start_engine(settings: Settings, base: BaseModel) -> Engine:
    """Return the engine of `model.engine`, started; raises EngineStopped, which says what to do."""
    if settings.model.engine != "transformers":
        try:
            return await _start_openvino(settings, base)
        except EngineStopped as error:
            if settings.model.engine == "openvino":
                raise EngineStopped(f'{error}; set model.engine = "transformers"') from error
            log.warning("Answering with transformers: %s.", error)
    engine = LocalEngine(base.path, settings.model, settings.generation)
    await engine.start()
    return engine


async def _start_openvino(settings: Settings, base: BaseModel) -> Engine:
    from bot.engine.openvino.engine import OpenVinoEngine

    engine = OpenVinoEngine(base, settings.data.directory, settings.model, settings.generation)
    await engine.start()
    return engine
