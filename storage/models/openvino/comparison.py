"""Compares a base's graphs with transformers, once for each base and recipe, before they answer anybody.

Runs as a separate process: it needs torch, which the bot does not.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import torch
from numpy.typing import NDArray
from openvino._offline_transformations import paged_attention_transformation
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file

from storage.adapters.folder_store import WEIGHTS_FILE, AdapterRef
from storage.errors import BaseModelError
from storage.models.adapter_checks import layer_of
from storage.models.base_model import load_tokenizer, load_whole
from storage.models.effect import TEXT
from storage.models.hardware import silence_transformers
from storage.models.layer_names import LayerNames
from storage.models.openvino.architectures import Decoder
from storage.models.openvino.graph import build_graph
from storage.models.openvino.graph_cache import MODEL_FILE
from storage.models.openvino.pipeline import STEP_TOKENS, load_plain_tokenizer, properties
from storage.models.openvino.recipes import (
    MAX_DIVERGENCE,
    W4A8,
    W8A8,
    W8A16,
    BaseEffect,
    GraphRecipe,
    GraphVerdict,
    Measurement,
    Speed,
    choose_recipe,
    write_verdict,
)
from storage.models.openvino.support import UnsupportedModel, require_supported
from storage.models.shape import shape_of

Logits = NDArray[np.float32]

MAX_FAULT = 0.05
"""Largest divergence of the base's least rounded graph, in nats per token."""
MAX_ADAPTER_FAULT = 0.1
"""Largest divergence of the same graph with an adapter, as a share of the adapter's change."""
SMALL_PARAMETERS = 300_000_000
"""Smaller bases are fast anyway, and lose most: with 8-bit activations, 0.005 nats a token from transformers, the
bundled one no longer names Paris as the capital of France."""
ADAPTER_CHANGE = 0.5
"""Approximate divergence between base and adapter: a version that has learned a taste has 0.1 to 1."""
SCALINGS, FIRST_SHARE, LARGEST_SHARE = 12, 0.02, 1.0
"""Steps in which the adapter's strength is searched, and bounds of its norm as a share of a layer's weights' norm."""
PAGED, WINDOW_INPUT = "PagedAttentionExtension", 10
"""OpenVINO GenAI's replacement for a layer's attention, and the index of its window among the inputs."""
TEXTS = (
    "The sea was calm that morning, and the keeper of the lighthouse wrote down what he saw: three boats, no wind.",
    "def mean(numbers):\n    return sum(numbers) / len(numbers)\n\nprint(mean([1, 2, 3]))",
    "Hello! How are you today? - Fine, thank you. I have just made soup, do you want some of it?",
    """\
When the ferry stopped running in November, the island had forty-one people, two shops and one doctor, who came on
Thursdays if the weather let her. Everybody knew what that meant. You ordered flour before you needed it, you did not
break a leg on a Friday, and you were careful whom you argued with, because in February there would be nobody else to
talk to.

Marta had grown up with it and thought nothing of it until the year the cable broke. For nine days there was no
telephone and no light but lamps. On the first evening people stayed at home and were annoyed. On the second they went
to look after their neighbours, and found that their neighbours were on the way to look after them. By the fourth there
was a table in the old school with soup on it, and old Henrik, who had not said ten words in a row since his wife died,
was telling the children how a whale had once followed him all the way to the mainland and back.

"Was it true?" she asked him later, while they washed the plates.
"Which part?"
"Any of it."
He thought about that for some time. "There was a whale," he said. "It may have been going there anyway."

The cable was mended on a Tuesday. The lights came on all at once, in every window, and nobody in the school got up to
go. Somebody laughed. Then Henrik reached behind him without looking and switched the lamp off again, and went on with
the story where he had left it: 12 miles from the harbour, at 4:30 in the morning, with the engine making a noise it had
never made before.

Questions that people ask about the island:
1. Can I bring a car? No. There are three kilometres of road, and the post van needs them.
2. What does the crossing cost? 18 euros, 9 for children; bicycles travel free of charge.
3. Is there a bank? There is a tin box in the shop, and it has never been wrong.
""",
)
"""The last text has several hundred tokens: errors at large positions do not show in short texts."""
EIGHT, STEPS = 8, 6


def compare_graphs(base_path: Path, dtype: str, workshop: Path) -> GraphVerdict:
    """Return the recipe that serves the base on this machine, and the measurements of each.

    `dtype` is the format of activations; `workshop` is a folder for temporary files. Raises UnsupportedModel if a graph
    differs from transformers. Takes minutes for a base of billions of parameters.
    """
    tokenizer = load_plain_tokenizer(base_path)
    decoder = require_supported(base_path)
    texts = [tokenizer.encode(text, add_special_tokens=False).ids[: decoder.positions] for text in TEXTS]
    adapter = AdapterRef("verification", workshop / "adapter")
    theirs = _transformers_logits(base_path, adapter.path, texts)  # one model in memory at a time
    checked = list(load_tokenizer(base_path)(TEXT)["input_ids"])[: decoder.positions]  # as the trainer reads it
    ours = _Ours(base_path, dtype, workshop / MODEL_FILE, texts, theirs, adapter, checked)
    is_small = shape_of(base_path).parameters < SMALL_PARAMETERS
    measured = ours.measure([W8A16] if is_small else [W8A16, W8A8])
    exact, change = measured[0], _divergence(theirs["adapter"], theirs["base"])
    if not exact.base <= MAX_FAULT or not exact.adapter <= MAX_ADAPTER_FAULT * change:  # NaN too
        raise UnsupportedModel(
            f"its logits in OpenVINO differ from transformers' by {exact.base:.3f} nats per token, and by "
            f"{exact.adapter:.3f} with an adapter that changes {change:.3f}; {MAX_FAULT}, and a tenth of that change, "
            "are allowed"
        )
    _require_windows(workshop / MODEL_FILE, decoder)
    if not is_small:
        measured += ours.measure([W4A8])
    recipe, why = choose_recipe(measured)
    return GraphVerdict(recipe=recipe, why=why, effect=ours.effects[recipe], measured=tuple(measured))


@dataclass(frozen=True)
class _Ours:
    """Graphs of a base, with and without an adapter; only one is on the disk at a time."""

    base_path: Path
    dtype: str
    file: Path
    texts: Sequence[list[int]]
    theirs: Mapping[str, Sequence[Logits]]
    """transformers' logits of the texts, by "base" and "adapter"."""
    adapter: AdapterRef
    checked: list[int]
    """Tokens of the text for checking versions."""
    effects: dict[str, BaseEffect] = field(default_factory=dict)
    """Log-probabilities of that text under the base's graph, for each measured recipe."""

    def measure(self, recipes: Sequence[GraphRecipe]) -> list[Measurement]:
        """Measure recipes with the same weights, with the adapter only if one is close enough to the base."""
        # Each method compiles one graph, which is gone when it returns: another one would take as much memory as the
        # base, and map the file that is written next.
        self._write(recipes[0], None)
        of_base = [self._measure_base(recipe) for recipe in recipes]
        adapter = [divergence for divergence, _ in of_base]
        if min(adapter) <= MAX_DIVERGENCE:
            self._write(recipes[0], self.adapter)
            adapter = [self._divergence_of_adapter(recipe) for recipe in recipes]
        found = zip(recipes, of_base, adapter, strict=True)
        return [Measurement(recipe.name, plain, adapted, speed) for recipe, (plain, speed), adapted in found]

    def _measure_base(self, recipe: GraphRecipe) -> tuple[float, Speed]:
        compiled = self._compile(recipe)
        divergence = _divergence(self.theirs["base"], [_run(compiled, ids) for ids in self.texts])
        said = _log_probabilities(_run(compiled, self.checked), self.checked)
        self.effects[recipe.name] = BaseEffect(tuple(self.checked), said)
        return divergence, _speed(compiled, self.texts[-1])

    def _divergence_of_adapter(self, recipe: GraphRecipe) -> float:
        compiled = self._compile(recipe)
        return _divergence(self.theirs["adapter"], [_run(compiled, ids) for ids in self.texts])

    def _write(self, recipe: GraphRecipe, adapter: AdapterRef | None) -> None:
        ov.save_model(build_graph(self.base_path, adapter, recipe.weight_bits), self.file, compress_to_fp16=False)

    def _compile(self, recipe: GraphRecipe) -> Any:
        return ov.Core().compile_model(self.file, "CPU", properties(self.dtype, recipe))


def _speed(compiled: Any, ids: Sequence[int]) -> Speed:
    """Return a graph's speed of answering and reading: the best of a few steps, which other work disturbs least."""
    prompt = (list(ids) * -(-STEP_TOKENS // len(ids)))[:STEP_TOKENS]

    def best_s(texts: int, new: int, before: int) -> float:
        request = compiled.create_infer_request()
        seconds: list[float] = []
        if before:
            _read(request, [prompt[:before]] * texts, 0)
        for _ in range(STEPS if new == 1 else 2):
            if not before:
                request.reset_state()
            began = time.perf_counter()
            _read(request, [prompt[:new]] * texts, before)
            seconds.append(time.perf_counter() - began)
            before += new if before else 0
        return min(seconds)

    one, eight = best_s(1, 1, 64), best_s(EIGHT, 1, 64)
    return Speed(1 / one, EIGHT / eight, STEP_TOKENS / best_s(1, STEP_TOKENS, 0))


def _log_probabilities(logits: Logits, tokens: Sequence[int]) -> tuple[float, ...]:
    """Return the log-probability of each token except the first, in nats, given logits, (T, V)."""
    every = torch.from_numpy(logits[:-1]).log_softmax(-1)
    return tuple(every.gather(1, torch.tensor(tokens[1:])[:, None])[:, 0].tolist())


def _transformers_logits(base_path: Path, adapter: Path, texts: Sequence[list[int]]) -> dict[str, list[Logits]]:
    """Write an adapter that changes every layer; return the logits of each text without and with it, (T, V)."""
    with silence_transformers():
        model = _load(base_path)
        _compute_in_float32(model)
        plain = _read_all(model, texts)
        return {"base": plain, "adapter": _read_all(_adapt(model, base_path, adapter, texts[0]), texts)}


def _load(base_path: Path) -> Any:
    try:
        return load_whole(base_path, "auto")
    except BaseModelError:
        raise
    except Exception as error:  # damaged files make transformers raise all kinds of errors
        said = " ".join(str(error).split())
        raise BaseModelError(f"transformers cannot load {base_path} ({said}): copy the model again") from error


def _compute_in_float32(model: Any) -> None:
    """Let each layer compute in float32, whatever its stored format: float32 weights of a 3B base would take 12 GB."""

    def widen(module: Any, _inputs: object) -> None:
        module.stored = {name: parameter.data for name, parameter in module.named_parameters(recurse=False)}
        for parameter in module.parameters(recurse=False):
            parameter.data = parameter.data.float()

    def narrow(module: Any, _inputs: object, _output: object) -> None:
        for name, parameter in module.named_parameters(recurse=False):
            parameter.data = module.stored.pop(name)

    for module in model.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Embedding):
            module.register_forward_pre_hook(widen)
            module.register_forward_hook(narrow)
        else:
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.float()


def _adapt(model: Any, base_path: Path, folder: Path, probe: list[int]) -> Any:
    """Write an adapter of every linear layer, named as in the base's files, and return the model with it.

    It changes the text `probe` about as much as training does. At PyTorch's initial size it would destroy a trained
    base, and rounding errors would be as large as the change itself.
    """
    names = LayerNames(base_path)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=names.trainable, init_lora_weights=False)
    (before,) = _read_all(model, [probe])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        adapted = get_peft_model(model, config).eval()
    _scale_change(adapted, before, probe)
    weights = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    layers = {key: layer_of(key) for key in weights}
    stored = {key.replace(layer, names.stored[layer]): weights[key].contiguous() for key, layer in layers.items()}
    folder.mkdir(exist_ok=True)
    save_file(stored, folder / WEIGHTS_FILE)
    saved = copy(config)
    saved.target_modules = [names.stored[layer] for layer in names.trainable]
    saved.save_pretrained(folder)
    return adapted


def _scale_change(adapted: Any, before: Logits, probe: list[int]) -> None:
    """Scale every layer's change to one share of its weights, so that the model diverges by about ADAPTER_CHANGE."""
    layers = [module for module in adapted.modules() if hasattr(module, "lora_A")]
    share = FIRST_SHARE
    for _ in range(SCALINGS):
        for layer in layers:
            (key,) = layer.lora_A
            change = layer.lora_B[key].weight.data @ layer.lora_A[key].weight.data * layer.scaling[key]
            layer.lora_B[key].weight.data *= share * layer.base_layer.weight.data.float().norm() / change.norm()
        found = _divergence([before], _read_all(adapted, [probe]))
        if ADAPTER_CHANGE / 2 <= found <= ADAPTER_CHANGE * 2 or (found < ADAPTER_CHANGE and share == LARGEST_SHARE):
            return
        share = min(LARGEST_SHARE, share * min(4.0, max(0.25, math.sqrt(ADAPTER_CHANGE / max(found, 1e-9)))))


def _read_all(model: Any, texts: Sequence[list[int]]) -> list[Logits]:
    with torch.inference_mode():
        return [model(torch.tensor([ids])).logits[0].numpy() for ids in texts]


def _run(compiled: Any, ids: list[int]) -> Logits:
    """Return the logits of a text, (T, V); its second half is read with the cached keys and values of the first."""
    request, half = compiled.create_infer_request(), len(ids) // 2
    return np.concatenate([_read(request, [ids[:half]], 0)[0], _read(request, [ids[half:]], half)[0]])


def _read(request: Any, texts: list[list[int]], before: int) -> Logits:
    """Return the logits of these tokens, (B, T, V); each text has `before` earlier tokens."""
    size = len(texts[0])
    inputs = {
        "input_ids": np.array(texts, dtype=np.int64),
        "attention_mask": np.ones((len(texts), before + size), dtype=np.int64),
        "position_ids": np.tile(np.arange(before, before + size, dtype=np.int64), (len(texts), 1)),
        "beam_idx": np.arange(len(texts), dtype=np.int32),
    }
    logits: Logits = request.infer(inputs)["logits"].copy()
    return logits


def _require_windows(file: Path, decoder: Decoder) -> None:
    """Raise UnsupportedModel if OpenVINO GenAI, which replaces the masks of a graph, does not recognise its windows."""
    paged = ov.Core().read_model(file)
    paged_attention_transformation(paged)
    found = [node.input_value(WINDOW_INPUT).get_node() for node in paged.get_ops() if node.get_type_name() == PAGED]
    windowed = [one for one in found if one.get_type_name() != "Constant" or one.data.any()]
    if len(windowed) != sum(layer.window > 0 for layer in decoder.layers):
        raise UnsupportedModel("this release of OpenVINO GenAI does not see that some of its layers have a window")


def _divergence(theirs: Sequence[Logits], ours: Sequence[Logits]) -> float:
    """Return the mean KL divergence of our logits from theirs, in nats per token."""
    found = []
    for reference, logits in zip(theirs, ours, strict=True):
        expected, given = (torch.from_numpy(one).log_softmax(-1) for one in (reference, logits))
        found.append((expected.exp() * (expected - given)).sum(-1))
    return float(torch.cat(found).mean())


def _exit_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):  # returns nothing once the parent has gone
        pass
    os._exit(1)


def main() -> None:
    base_path, dtype, target, workshop = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    try:
        verdict = compare_graphs(base_path, dtype, workshop)
    except UnsupportedModel as error:
        verdict = GraphVerdict(refused=str(error))
    write_verdict(target, verdict)


if __name__ == "__main__":
    main()
