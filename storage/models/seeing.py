"""Bases that see: besides the language model, their files hold a tower that turns pictures into tokens."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from storage.errors import BaseModelError
from storage.files import read_json_object
from storage.models.base_model import CONFIG_FILE, load_weights, require_full_weights, require_numbers
from storage.models.hardware import MODEL_LIBRARIES, torch_device
from storage.models.layer_names import LayerNames
from storage.settings.sections import Settings

PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
"""Files that describe the preparation of pictures; a base that sees has at least one."""
WITH_SENSES = "ForConditionalGeneration"
"""The end of transformers' names of models that see, hear or both."""


def can_see(folder: Path) -> bool:
    """Return whether the transformers engine can look at pictures with this base, judging by its small files."""
    with suppress(OSError, ValueError):
        config = read_json_object(folder / CONFIG_FILE)
        is_whole = str((config.get("architectures") or [""])[0]).endswith(WITH_SENSES)
        has_processor = any((folder / name).is_file() for name in PROCESSOR_FILES)
        return bool(is_whole and config.get("vision_config") and has_processor)
    return False


def may_see(folder: Path, settings: Settings) -> bool:
    """Return whether the base looks at pictures if transformers answers."""
    return is_base_to_look(settings) and can_see(folder)


def is_base_to_look(settings: Settings) -> bool:
    """Return whether transformers may use a seeing base for pictures: it is not quantised, and no server is set."""
    is_local = settings.model.engine in ("auto", "transformers")
    return is_local and not settings.model.quantization and not settings.pictures.url


def load_seeing(path: Path, dtype: str) -> tuple[Any, Any]:
    """Return the language model, as `load_on_device` does, and the vision model on the same weights around it.

    Raises like `load_on_device`, and if the base cannot see.
    """
    require_full_weights(path)
    with MODEL_LIBRARIES:
        from transformers import AutoModelForImageTextToText
        from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

        names = LayerNames(path)
        if type(names.whole_config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING or not names.is_inside:
            raise BaseModelError(f"transformers has no model that sees for the files in {path}")
        whole = load_weights(AutoModelForImageTextToText, path, dtype).to(torch_device())
        text = _language_model_in(whole, names)
    require_numbers(text, path, "model.dtype")
    return text, whole


def _language_model_in(whole: Any, names: LayerNames) -> Any:
    """Return the model that `load_whole` makes of the files, with the layers of the whole instead of copies."""
    text, layers = names.empty_text_model(), whole.get_decoder()
    if type(layers) is not type(text.base_model):
        raise BaseModelError(f"the language model in {type(whole).__name__} is none that answers by itself")
    setattr(text, text.base_model_prefix, layers)
    text.set_output_embeddings(whole.get_output_embeddings())
    return text.eval()
