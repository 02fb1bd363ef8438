"""The sentence encoder on its own thread, loaded when it is first needed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from numpy.typing import NDArray

from storage.database.database import Database
from storage.errors import EncoderError
from storage.knowledge.vectors import prepare_vectors
from storage.models.sentence_encoder import Encoder

log = logging.getLogger(__name__)

T = TypeVar("T")


class EncoderThread:
    def __init__(self, database: Database, load: Callable[[], Encoder]) -> None:
        self._database = database
        self._load = load
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._encoder: Encoder | None = None
        self.problem: str | None = None
        """Why the encoder cannot be loaded; None if it can, or was not needed yet."""

    @property
    def is_settled(self) -> bool:
        """Whether the encoder is loaded, or known to be missing."""
        return self._encoder is not None or self.problem is not None

    def close(self) -> None:
        self._executor.shutdown(wait=False)

    async def ready(self) -> Encoder | None:
        """Return the encoder, loaded once; None if that failed, which is logged once."""
        if not self.is_settled:
            await asyncio.shield(self.run(self._load_once))
        return self._encoder

    async def encode(self, encoder: Encoder, texts: Sequence[str]) -> NDArray[Any]:
        """Return a vector of length 1 for each text, (N, D)."""
        return await self.run(lambda: encoder.encode(list(texts)))

    async def run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def _load_once(self) -> None:
        if self.is_settled:
            return
        try:
            encoder = self._load()
        except EncoderError as error:
            self.problem = str(error)
            log.warning("Search in documents matches words only: %s.", error)
            return
        dimensions = int(encoder.encode([""]).shape[1])
        with self._database.transaction() as session:
            prepare_vectors(session, dimensions, encoder.name)
        self._encoder = encoder
