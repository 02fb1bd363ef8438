"""Turns a picture and words about it into the inputs of a base with vision."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.errors import BaseModelError
from storage.models.chat_format import ChatFormat
from storage.models.hardware import silence_transformers

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from torch import Tensor

SIDE = 64
"""Width and height of the test picture, in pixels."""


@dataclass(frozen=True)
class Sight:
    """A prompt with a picture."""

    prompt: str
    """The rendered prompt, with the picture's place."""
    ids: list[int]
    """The prompt's tokens, some of which stand for the picture."""
    picture: Mapping[str, Tensor]
    """The picture's tensors, and the model's other inputs besides tokens and mask."""


class Eyes:
    """The base's image processor. Any thread may use it, because it has its own tokenizer."""

    def __init__(self, base_path: Path, chat: ChatFormat) -> None:
        """Load the base's image processor and try it on a picture; raises BaseModelError if that fails."""
        self._lock = threading.Lock()
        self._options = {name: value for name, value in chat.options.items() if name not in chat.unknown_options}
        try:
            with silence_transformers():
                from PIL import Image
                from transformers import AutoProcessor

                self._processor: Any = AutoProcessor.from_pretrained(base_path, local_files_only=True)
            self.see(Image.new("RGB", (SIDE, SIDE)), "Hi.")
        except Exception as error:  # processors raise all kinds of errors
            needs = "its processor needs torchvision: install it with `pip install 'reactune[vision]'`"
            fault = f"its processor cannot be used ({type(error).__name__}: {' '.join(str(error).split())})"
            raise BaseModelError(needs if "torchvision" in str(error).lower() else fault) from error

    def see(self, picture: Picture, words: str) -> Sight:
        content = [{"type": "image", "image": picture}, {"type": "text", "text": words}]
        conversation = [{"role": "user", "content": content}]
        with self._lock:
            prompt = self._processor.apply_chat_template(conversation, add_generation_prompt=True, **self._options)
            inputs = self._processor.apply_chat_template(
                conversation,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                **self._options,
            )
        ids = inputs["input_ids"][0].tolist()
        return Sight(prompt, ids, {k: v for k, v in inputs.items() if k not in ("input_ids", "attention_mask")})
