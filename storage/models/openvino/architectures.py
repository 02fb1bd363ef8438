"""Supported architectures: their differences from LLaMA, by a base's `config.json`. Imports no model library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

INT8_GROUP = 64
"""Inputs that share a scale; larger groups lose more. With 64, KL to the unrounded model is 0.005 nats a token."""
INT4_GROUP = 128
"""Groups of 32 would be 0.01 nats a token closer on 1.5 billion parameters, and a fifth slower."""
MAX_POSITIONS = 32_768
DEFAULT_THETA = 10_000.0
DEFAULT_EPSILON = 1e-6
WINDOWED = "sliding_attention"
FULL = "full_attention"

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Rotary:
    """Rotary positions of a layer (Su et al. 2021)."""

    theta: float
    size: int
    """Number of a head's values that are rotated; the others are not."""
    scaling: Config
    """transformers' rope_type and its parameters."""
    positions: int
    """The base's maximum number of positions."""

    @property
    def kind(self) -> str:
        return str(self.scaling.get("rope_type", self.scaling.get("type", "default")))

    @property
    def trained_positions(self) -> int:
        """The maximum number of positions before scaling."""
        return int(self.scaling.get("original_max_position_embeddings") or self.positions)

    def __hash__(self) -> int:
        return hash((self.theta, self.size, self.kind, self.positions))


class Mixer(StrEnum):
    """The part of a layer that mixes the tokens."""

    ATTENTION = "attention"
    CONVOLUTION = "convolution"
    """A gated short convolution, as in LFM2 (Liquid AI 2025)."""
    DELTA = "delta"
    """A gated delta rule, as in Qwen3.5 (Yang et al. 2024)."""


@dataclass(frozen=True)
class Layer:
    mixer: Mixer
    rotary: Rotary | None
    """Rotary positions; None if the layer knows no positions (NoPE)."""
    window: int
    """Number of tokens that it looks back at, itself included; 0: all."""


@dataclass(frozen=True)
class DeltaSizes:
    key_heads: int
    value_heads: int
    key: int
    value: int


@dataclass(frozen=True)
class Decoder:
    """A decoder with grouped-query attention, such as LLaMA (Touvron et al. 2023)."""

    layers: tuple[Layer, ...]
    heads: int
    kv_heads: int
    head_size: int
    epsilon: float
    activation: str
    attention_scale: float
    delta: DeltaSizes | None
    is_tied: bool
    positions: int
    """Number of positions that a graph supports."""
    variant: Variant


@dataclass(frozen=True)
class Names:
    """Names of a decoder's parts on disk; "" for a missing part."""

    mixer_norm: str = "input_layernorm"
    mixer_output_norm: str = ""
    feed_forward_norm: str = "post_attention_layernorm"
    feed_forward_output_norm: str = ""
    query_key_value: tuple[str, ...] = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    query_norm: str = "self_attn.q_norm"
    key_norm: str = "self_attn.k_norm"
    attention_output: str = "self_attn.o_proj"
    gate_up: tuple[str, ...] = ("mlp.gate_proj", "mlp.up_proj")
    down: str = "mlp.down_proj"
    last_norm: str = "norm"


@dataclass(frozen=True)
class Variant:
    """An architecture's differences from LLaMA."""

    names: Names = field(default_factory=Names)
    norm_offset: float = 0.0
    """Number added to the weights of normalisations."""
    scales_embeddings: bool = False
    """True if embeddings are multiplied by the square root of their width."""
    gates_attention: bool = False
    """True if the query projection also returns a gate for each head's output."""
    mixer: Mixer = Mixer.ATTENTION
    """The mixer of layers whose type in config["layer_types"] is not attention."""
    local_theta: float | None = None
    """Base of rotary positions in layers with a window, unaffected by scaling; None: as in other layers."""
    is_windowed: Callable[[Config, int], bool] = lambda _config, _index: False
    """Returns whether the layer looks back at config["sliding_window"] tokens, unless config["layer_types"] decides."""
    knows_positions: Callable[[Config, int], bool] = lambda _config, _index: True
    defaults: Config = field(default_factory=dict)
    """transformers' defaults for keys missing in config.json (also read by storage.models.shape)."""


def _in_qwen(config: Config, index: int) -> bool:
    return bool(config.get("use_sliding_window")) and index >= int(config.get("max_window_layers", 28))


def _in_gemma3(config: Config, index: int) -> bool:
    return (index + 1) % int(config.get("sliding_window_pattern", 6)) != 0


def _rotates_in_smollm3(config: Config, index: int) -> bool:
    listed = config.get("no_rope_layers")
    return bool(listed[index]) if listed else (index + 1) % int(config.get("no_rope_layer_interval", 4)) != 0


def _in_smollm3(config: Config, index: int) -> bool:
    return bool(config.get("use_sliding_window")) and not _rotates_in_smollm3(config, index)


LLAMA = Variant()
QWEN = Variant(is_windowed=_in_qwen)
MISTRAL = Variant(is_windowed=lambda _config, _index: True, defaults={"sliding_window": 4_096})
PHI3 = Variant(
    names=Names(query_key_value=("self_attn.qkv_proj",), gate_up=("mlp.gate_up_proj",)),
    is_windowed=lambda _config, _index: True,
    defaults={"rms_norm_eps": 1e-5},
)
SMOLLM3 = Variant(
    is_windowed=_in_smollm3,
    knows_positions=_rotates_in_smollm3,
    defaults={"rope_theta": 2_000_000.0, "tie_word_embeddings": True},
)
GEMMA3 = Variant(
    names=Names(
        mixer_output_norm="post_attention_layernorm",
        feed_forward_norm="pre_feedforward_layernorm",
        feed_forward_output_norm="post_feedforward_layernorm",
    ),
    norm_offset=1.0,
    scales_embeddings=True,
    local_theta=10_000.0,
    is_windowed=_in_gemma3,
    defaults={
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": 256,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0,
        "sliding_window": 4_096,
        "tie_word_embeddings": True,
        "vocab_size": 262_208,
    },
)
QWEN3_5 = Variant(
    norm_offset=1.0,
    gates_attention=True,
    mixer=Mixer.DELTA,
    defaults={
        "linear_key_head_dim": 128,
        "linear_num_key_heads": 16,
        "linear_num_value_heads": 32,
        "linear_value_head_dim": 128,
        "partial_rotary_factor": 0.25,
    },
)
LFM2 = Variant(
    names=Names(
        mixer_norm="operator_norm",
        feed_forward_norm="ffn_norm",
        query_norm="self_attn.q_layernorm",
        key_norm="self_attn.k_layernorm",
        attention_output="self_attn.out_proj",
        gate_up=("feed_forward.w1", "feed_forward.w3"),
        down="feed_forward.w2",
        last_norm="embedding_norm",
    ),
    mixer=Mixer.CONVOLUTION,
    defaults={"rope_theta": 1_000_000.0, "norm_eps": 1e-5, "tie_word_embeddings": True},
)
VARIANTS: Mapping[str, Variant] = {
    "Gemma3ForCausalLM": GEMMA3,
    "Gemma3ForConditionalGeneration": GEMMA3,
    "Lfm2ForCausalLM": LFM2,
    "LlamaForCausalLM": LLAMA,
    "Mistral3ForConditionalGeneration": MISTRAL,
    "MistralForCausalLM": MISTRAL,
    "Phi3ForCausalLM": PHI3,
    "Qwen2ForCausalLM": QWEN,
    "Qwen3ForCausalLM": QWEN,
    "Qwen3_5ForCausalLM": QWEN3_5,
    "Qwen3_5ForConditionalGeneration": QWEN3_5,
    "SmolLM3ForCausalLM": SMOLLM3,
}


def describe_decoder(variant: Variant, config: Config) -> Decoder:
    """Return the decoder to build; `config` is the language model's part of `config.json`."""
    config = {**variant.defaults, **config}
    heads = int(config["num_attention_heads"])
    head_size = int(config.get("head_dim") or config["hidden_size"] // heads)
    layers = tuple(_layer(variant, config, head_size, index) for index in range(int(config["num_hidden_layers"])))
    return Decoder(
        layers,
        heads,
        int(config.get("num_key_value_heads") or heads),
        head_size,
        float(config["norm_eps"] if "norm_eps" in config else config.get("rms_norm_eps", DEFAULT_EPSILON)),
        str(config.get("hidden_activation") or config.get("hidden_act", "silu")),
        float(config.get("query_pre_attn_scalar") or head_size) ** -0.5,
        _delta_sizes(config) if variant.mixer is Mixer.DELTA else None,
        bool(config.get("tie_word_embeddings")),
        min(MAX_POSITIONS, *(_positions(layer, config) for layer in layers)),
        variant,
    )


def _delta_sizes(config: Config) -> DeltaSizes:
    keys = "num_key_heads", "num_value_heads", "key_head_dim", "value_head_dim"
    return DeltaSizes(*(int(config[f"linear_{key}"]) for key in keys))


def _layer(variant: Variant, config: Config, head_size: int, index: int) -> Layer:
    kind = _kind(variant, config, index)
    if kind not in (WINDOWED, FULL):
        return Layer(variant.mixer, None, 0)
    return Layer(
        Mixer.ATTENTION,
        _rotary(variant, config, head_size, kind) if variant.knows_positions(config, index) else None,
        int(config.get("sliding_window") or 0) if kind == WINDOWED else 0,
    )


def _kind(variant: Variant, config: Config, index: int) -> str:
    """Return the layer's type, as in config["layer_types"], which older releases of transformers did not write."""
    if listed := config.get("layer_types"):
        return str(listed[index])
    if variant.mixer is not Mixer.ATTENTION:
        return FULL if (index + 1) % int(config.get("full_attention_interval", 4)) == 0 else variant.mixer
    return WINDOWED if variant.is_windowed(config, index) else FULL


def _rotary(variant: Variant, config: Config, head_size: int, kind: str) -> Rotary:
    """Return the rotary positions of a kind of layer, from any of the places that transformers' releases use."""
    given = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    theta = config.get("rope_theta", DEFAULT_THETA)
    if kind in given:
        given = given[kind]
    elif kind == WINDOWED and variant.local_theta:
        given, theta = dict[str, Any](), config.get("rope_local_base_freq", variant.local_theta)
    if trained := config.get("original_max_position_embeddings"):
        given = {**given, "original_max_position_embeddings": trained}
    share = given.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0))
    positions = int(config.get("max_position_embeddings", MAX_POSITIONS))
    return Rotary(float(given.get("rope_theta") or theta), int(head_size * share), given, positions)


def _positions(layer: Layer, config: Config) -> int:
    if layer.rotary is None:
        return int(config.get("max_position_embeddings", MAX_POSITIONS))
    # Beyond the trained positions, LongRoPE would also change the angles of earlier ones, which are then in the cache.
    return layer.rotary.trained_positions if layer.rotary.kind == "longrope" else layer.rotary.positions
