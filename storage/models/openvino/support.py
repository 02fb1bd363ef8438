"""OpenVINO's support for base models. Imports no model library."""

from __future__ import annotations

from pathlib import Path

from storage.errors import StorageError
from storage.files import read_json_object
from storage.models.base_model import BaseModel, quantization_in, window_in
from storage.models.openvino.architectures import VARIANTS, Config, Decoder, describe_decoder
from storage.models.openvino.rotary import SCALINGS
from storage.settings.sections import ModelSettings

ACTIVATIONS = frozenset({"gelu_pytorch_tanh", "silu"})
LANGUAGE_MODELS = frozenset({"gemma3_text", "mistral", "qwen3_5_text"})
"""transformers' names of the language models inside supported models that also see."""
UNSUPPORTED = {
    "attn_logit_softcapping": "it caps attention scores, which OpenVINO GenAI's paged attention does not",
    "conv_bias": "its convolutions have a bias",
    "final_logit_softcapping": "it caps logits",
    "use_bidirectional_attention": "its tokens see later ones",
}
"""Unsupported settings in config.json, in words that people read."""


class UnsupportedModel(StorageError):
    """OpenVINO cannot serve this base model; the message gives the reason."""


class UnloadableModel(UnsupportedModel):
    """Neither OpenVINO nor transformers can serve this base model."""


def require_supported(base_path: Path) -> Decoder:
    """Return the decoder that `build_graph` builds for a model; raises UnsupportedModel if it cannot."""
    return describe_supported(read_json_object(base_path / "config.json"))


def describe_supported(config: Config) -> Decoder:
    """Return the decoder for a model's config.json; raises UnsupportedModel if there is none."""
    architecture = (config.get("architectures") or ["none"])[0]
    if architecture not in VARIANTS:
        raise UnsupportedModel(f"its architecture is {architecture}, not one of {', '.join(sorted(VARIANTS))}")
    if method := quantization_in(config):
        raise UnsupportedModel(f"its weights are quantised already ({method})")
    decoder = describe_decoder(VARIANTS[architecture], _language_model(config))
    for layer in decoder.layers:
        if layer.rotary and layer.rotary.kind not in SCALINGS:
            raise UnsupportedModel(f"its rotary positions are of type {layer.rotary.kind!r}")
    if decoder.activation not in ACTIVATIONS:
        raise UnsupportedModel(f"its activation is {decoder.activation}")
    return decoder


def _language_model(config: Config) -> Config:
    """Return the settings of the language model in a model that may also see."""
    found = config.get("text_config")
    if found is not None:
        kind = found.get("model_type")
        if kind not in LANGUAGE_MODELS:
            raise UnsupportedModel(f"its language model is of type {kind}")
        found = {**found, **{key: config[key] for key in ("tie_word_embeddings",) if key in config}}
    language: Config = found or config
    for key, reason in UNSUPPORTED.items():
        if language.get(key):
            raise UnsupportedModel(f"{reason} ({key})")
    return language


def unsupported_because(base: BaseModel, settings: ModelSettings) -> str:
    """Return why OpenVINO does not support this base with these settings, or "" if it does."""
    return why_unsupported(read_json_object(base.path / "config.json"), settings)


def why_unsupported(config: Config, settings: ModelSettings) -> str:
    """Return why OpenVINO does not support the model of this config.json, or "" if it does."""
    try:
        decoder = describe_supported(config)
    except UnsupportedModel as error:
        return str(error)
    if window_in(config, settings) > decoder.positions:
        return f"model.context_tokens = {settings.context_tokens} is above {decoder.positions}, its graph's limit"
    return ""
