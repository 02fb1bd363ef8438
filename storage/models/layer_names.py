"""Names of a base's layers: in its files, where adapters use them, and in the text model that is loaded from them.

The files of a vision-language model call a layer `language_model.model.layers.0.mlp.up_proj`; the text model that
Reactune loads from them calls it `model.layers.0.mlp.up_proj`. Imports no model library at the top.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from storage.errors import BaseModelError
from storage.files import read_json_object
from storage.models.hardware import MODEL_LIBRARIES

Shape = tuple[int, int]

WEIGHT = ".weight"
ROUTERS = frozenset({"gate", "router", "shared_expert_gate"})
"""Modules that choose experts: changing them would send tokens to experts that have not learned from them."""
EXPERT = re.compile(r"\.experts\.(?:\d+\.)?(\w+)$")


def weight_files(folder: Path) -> list[Path]:
    """Return a model's files of weights, without Mistral's `consolidated` ones: the same weights under other names."""
    return sorted(path for path in folder.glob("*.safetensors") if not path.name.startswith("consolidated"))


def read_header(file: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """Return {name: type, shape and place of a tensor} of a safetensors file, and the position of the first tensor.

    Raises ValueError if the file is cut off. The library's `safe_open` would bring the whole file into memory.
    """
    with file.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        begin = stream.tell()
    header.pop("__metadata__", None)
    if begin + max((entry["data_offsets"][1] for entry in header.values()), default=0) > file.stat().st_size:
        raise ValueError(f"{file} is cut off: copy it again")
    return header, begin


def stored_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return {name: shape} of the weights in a model's files; raises like `read_header`."""
    headers = (read_header(file)[0] for file in weight_files(folder))
    return {name: tuple(entry["shape"]) for header in headers for name, entry in header.items()}


def stored_matrices(folder: Path) -> dict[str, Shape]:
    """Return the shape, (out, in), of each matrix in a model's files, by its name there without `.weight`."""
    shapes = stored_shapes(folder).items()
    return {
        name.removesuffix(WEIGHT): (shape[0], shape[1])
        for name, shape in shapes
        if name.endswith(WEIGHT) and len(shape) == 2
    }


def has_experts(folder: Path) -> bool:
    """Return whether the model is a mixture of experts, by the names in its files."""
    return any(".experts." in name for name in stored_shapes(folder))


def adaptable_matrices(folder: Path) -> dict[str, Shape]:
    """Return the matrices that an adapter may change, named as in the files: the language model's, except experts."""
    found = {name: shape for name, shape in stored_matrices(folder).items() if not EXPERT.search(name)}
    if "text_config" not in read_json_object(folder / "config.json"):  # spares importing transformers
        return found
    with MODEL_LIBRARIES:
        names = LayerNames(folder)
        return {name: found[name] for name in names.stored.values() if name in found} if names.is_inside else found


class LayerNames:
    """The names of one base's layers, read from its configuration and the headers of its files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with MODEL_LIBRARIES:
            from transformers import AutoConfig
            from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

            self._loadable = MODEL_FOR_CAUSAL_LM_MAPPING
            self.whole_config = AutoConfig.from_pretrained(folder, local_files_only=True)
            """transformers' configuration of the whole model in the files."""
            self._inner_config = self.whole_config.get_text_config(decoder=True)
        is_part = type(self._inner_config) is not type(self.whole_config)
        self.is_inside = is_part and type(self._inner_config) in self._loadable
        """True if the text model is only a part of the model in the files, such as of a vision-language model."""

    @cached_property
    def config(self) -> Any:
        """transformers' configuration of the text model; raises BaseModelError if it has none of this architecture."""
        config = self._inner_config if self.is_inside else self.whole_config
        if type(config) not in self._loadable:
            raise BaseModelError(
                f"transformers has no text model for {config.architectures[0]} in {self._folder}, so only a remote "
                'server can serve it (model.engine = "remote") and rounds cannot train it: set model.base to another '
                "model"
            )
        if self.is_inside and "lm_head" not in {name.rpartition(".")[2] for name in self._matrices}:
            # Only the whole model's configuration may say that the output layer is the embedding.
            config.tie_word_embeddings |= self.whole_config.tie_word_embeddings
        return config

    def require_fit(self) -> None:
        """Raise BaseModelError if transformers cannot fill the text model with the files' matrices.

        Missing files are ignored. Wrong sizes in config.json may raise other errors.
        """
        if not self._matrices:
            self.config  # noqa: B018 (raises the error)
            return
        weights = self._text.state_dict()
        tied = self._text.all_tied_weights_keys
        missing = {key for key, weight in weights.items() if key.endswith(WEIGHT) and weight.dim() == 2}
        missing -= {*tied, *tied.values()}
        is_merging = False
        for stored, key, is_merged in self._places_in(self._text, self.renamings):
            is_merging |= is_merged
            missing.discard(key)
            if not is_merged and key in weights and tuple(weights[key].shape) != self._matrices[stored]:
                raise BaseModelError(
                    f"{stored} in {self._folder} has the shape {self._matrices[stored]}, but its config.json says "
                    f"{tuple(weights[key].shape)}: copy the model again"
                )
        if missing and not is_merging:  # one merged name may fill several weights
            raise BaseModelError(
                f"{self._folder} lacks {len(missing)} weights of a text model, such as {min(missing)}: copy the model "
                "again, or set model.base to a chat model"
            )

    @cached_property
    def renamings(self) -> dict[str, str]:
        """Patterns of names in the files, and replacements in the text model: transformers' and PEFT's `key_mapping`.

        Empty if the files hold a text model.
        """
        if not self.is_inside:
            return {}
        renamings: dict[str, str] = {}
        if table := self._stored_name(self._text.get_input_embeddings()):
            stored, loaded = table
            last = loaded.rpartition(".")[2]
            renamings[f"^{re.escape(stored.removesuffix(last))}"] = loaded.removesuffix(last)
        if head := self._stored_name(self._text.get_output_embeddings()):
            stored, loaded = head
            renamings[f"^{re.escape(stored)}"] = loaded
        return renamings

    @cached_property
    def stored(self) -> dict[str, str]:
        """The text model's matrices that loading copies or only renames: {name in the model: name in the files}."""
        return self._names_in(self._text, self.renamings)

    @cached_property
    def trainable(self) -> list[str]:
        """The linear layers that a new adapter changes, named as in the text model.

        They are the files' matrices except the output layer and the routers. In a mixture of experts, layers that have
        an expert's name are left out too: PEFT takes them for the merged experts.
        """
        from torch import nn
        from transformers.pytorch_utils import Conv1D

        head, left_out = self._text.get_output_embeddings(), ROUTERS | self._names_of_experts
        return sorted(
            name
            for name, module in self._text.named_modules()
            if name in self.stored
            and isinstance(module, nn.Linear | Conv1D)
            and module is not head
            and left_out.isdisjoint(name.split("."))
        )

    @cached_property
    def left_out(self) -> str:
        """A sentence on the parts of a mixture of experts that a new adapter does not change; "" for other models."""
        if not has_experts(self._folder):
            return ""
        kinds = sorted({name.rpartition(".")[2] for name in self.trainable})
        return (
            f"rounds train {', '.join(kinds)} only: the experts and their routers stay as they are, because "
            "transformers merges the experts into one weight, and adapters change linear layers"
        )

    def targets(self, layers: Collection[str]) -> list[str]:
        """Return names for PEFT's `target_modules` that match exactly these layers of the text model.

        They are the shortest ends of names that match nothing else in the files, in the text model, and in
        transformers' own model of the files, vision tower included.
        """
        loaded = {stored: name for name, stored in self.stored.items()}
        stored_layers = {self.stored[layer] for layer in layers}
        places = [
            (set(layers), _modules(self._text)),
            (stored_layers, set(adaptable_matrices(self._folder))),
        ]
        if self._whole is not None:
            names = self._names_in(self._whole, {})
            wanted = {name for name, stored in names.items() if loaded.get(stored) in layers}
            places.append((wanted, _modules(self._whole)))
        ends_of_others = {end for wanted, known in places for name in known - wanted for end in _ends(name)}
        found: set[str] = set()
        for name in sorted(name for wanted, _ in places for name in wanted):
            if found.isdisjoint(_ends(name)):
                found.add(next(end for end in _ends(name) if end not in ends_of_others))
        return sorted(found)

    @cached_property
    def _matrices(self) -> dict[str, Shape]:
        return stored_matrices(self._folder)

    @cached_property
    def _names_of_experts(self) -> frozenset[str]:
        return frozenset(found[1] for name in self._matrices if (found := EXPERT.search(name)))

    def empty_text_model(self) -> Any:
        """Return the text model without weights."""
        from transformers import AutoModelForCausalLM

        return _without_weights(AutoModelForCausalLM.from_config, self.config)

    @cached_property
    def _text(self) -> Any:
        return self.empty_text_model()

    @cached_property
    def _whole(self) -> Any:
        """The model of the whole files, if it is more than the text model; else None."""
        import transformers

        named = getattr(transformers, (self.whole_config.architectures or [""])[0], None)
        return _without_weights(named, self.whole_config) if self.is_inside and named else None

    def _stored_name(self, module: Any) -> tuple[str, str] | None:
        """Return the module's name in the files and in the text model, if they differ."""
        loaded = next(name for name, found in self._text.named_modules() if found is module)
        last, shape = loaded.rpartition(".")[2], tuple(module.weight.shape)
        found = [name for name in self._matrices if name.rpartition(".")[2] == last and self._matrices[name] == shape]
        return None if not found or loaded in found else (min(found, key=len), loaded)

    def _names_in(self, model: Any, renamings: Mapping[str, str]) -> dict[str, str]:
        """Return {name in the model: name in the files} of the matrices that loading copies or only renames."""
        weights = model.state_dict()
        return {
            key.removesuffix(WEIGHT): stored
            for stored, key, is_merged in self._places_in(model, renamings)
            if not is_merged and key in weights and tuple(weights[key].shape) == self._matrices[stored]
        }

    def _places_in(self, model: Any, renamings: Mapping[str, str]) -> Iterator[tuple[str, str, bool]]:
        """Yield (name in the files, weight of the model that it fills, whether it is merged with others).

        This follows the renaming of transformers while it loads.
        """
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

        conversions = get_model_conversion_mapping(model, dict(renamings))
        renaming = [one for one in conversions if isinstance(one, WeightRenaming)]
        merging = [one for one in conversions if isinstance(one, WeightConverter)]
        weights = model.state_dict()
        for stored in self._matrices:
            key, merged = rename_source_key(stored + WEIGHT, renaming, merging, model.base_model_prefix, weights)
            yield stored, key, merged is not None


def _without_weights(build: Any, config: Any) -> Any:
    """Return a model that needs no memory."""
    with MODEL_LIBRARIES:
        import torch

        with torch.device("meta"):
            return build(config)


def _modules(model: Any) -> set[str]:
    return {name for name, _ in model.named_modules() if name}


def _ends(name: str) -> Iterator[str]:
    """Yield the ends of a dotted name, shortest first; none begins with a layer's bare number."""
    parts = name.split(".")
    return (".".join(parts[start:]) for start in reversed(range(len(parts))) if not parts[start].isdigit())
