"""Small random models of the architectures that people run, with chat templates that behave as the real ones do.

No hub is needed: configurations are transformers' own, shrunk, and the tokenizer is the tiny model's with other special
tokens. What matters is real: names of the weights on disk, tokens that end a turn, thinking, refused roles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.tiny_model import SENTENCES, trained_tokenizer, vocabulary_of

WIDTH = 64
LAYERS = 2
DECODER: Mapping[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": 128,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
}

CHATML = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""
SPOKEN = "(message.content.split('</think>') | last).lstrip('\\n') if message.role == 'assistant' else message.content"
"""Templates of thinking models leave the thoughts of earlier answers out."""
QWEN3 = f"""\
{{%- for message in messages -%}}
{{{{- '<|im_start|>' + message.role + '\\n' + ({SPOKEN}) + '<|im_end|>\\n' -}}}}
{{%- endfor -%}}
{{%- if add_generation_prompt -%}}
{{{{- '<|im_start|>assistant\\n' -}}}}
{{%- if enable_thinking is defined and enable_thinking is false -%}}
{{{{- '<think>\\n\\n</think>\\n\\n' -}}}}
{{%- endif -%}}
{{%- endif -%}}
"""
QWEN3_5 = QWEN3.replace("{%- endif -%}\n{%- endif -%}", "{%- else -%}{{- '<think>\\n' -}}{%- endif -%}\n{%- endif -%}")
"""Without the switch, the prompt itself opens the thought."""
R1_DISTIL = f"""\
{{{{- bos_token -}}}}
{{%- for message in messages -%}}
{{%- if message.role == 'system' -%}}{{{{- message.content -}}}}
{{%- elif message.role == 'user' -%}}{{{{- '<|User|>' + message.content -}}}}
{{%- else -%}}{{{{- '<|Assistant|>' + ({SPOKEN}) + eos_token -}}}}
{{%- endif -%}}
{{%- endfor -%}}
{{%- if add_generation_prompt -%}}{{{{- '<|Assistant|><think>\\n' -}}}}{{%- endif -%}}
"""
"""It always thinks: no option stops it."""
SMOLLM3 = """\
{%- set thinks = enable_thinking if enable_thinking is defined else true -%}
{%- set told = messages[0].content if messages[0].role == 'system' else '' -%}
{{- '<|im_start|>system\\n## Metadata\\n\\nToday Date: ' + strftime_now('%d %B %Y') -}}
{{- '\\nReasoning Mode: ' + ('/think' if thinks else '/no_think') -}}
{{- '\\n\\n## Custom Instructions\\n\\n' + told + '<|im_end|>\\n' -}}
{%- for message in messages if message.role != 'system' -%}
{%- set thought = '<think>\\n\\n</think>\\n' if message.role == 'assistant' and not thinks else '' -%}
{{- '<|im_start|>' + message.role + '\\n' + thought + message.content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' + ('' if thinks else '<think>\\n\\n</think>\\n') -}}
{%- endif -%}
"""
ALTERNATES = """\
{%- for message in messages -%}
{%- if (message.role == 'user') != (loop.index0 % 2 == 0) -%}
{{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') -}}
{%- endif -%}
{%- endfor -%}
"""
GEMMA2 = (
    "{{- bos_token -}}{%- if messages[0].role == 'system' -%}"
    "{{- raise_exception('System role not supported') -}}{%- endif -%}"
    + ALTERNATES
    + """\
{%- for message in messages -%}
{{- '<start_of_turn>' + ('model' if message.role == 'assistant' else message.role) + '\\n' -}}
{{- message.content | trim + '<end_of_turn>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}
"""
)
GEMMA3 = """\
{{- bos_token -}}
{%- set told = messages[0].content + '\\n\\n' if messages[0].role == 'system' else '' -%}
{%- set turns = messages[1:] if messages[0].role == 'system' else messages -%}
{%- for message in turns -%}
{%- if (message.role == 'user') != (loop.index0 % 2 == 0) -%}
{{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') -}}
{%- endif -%}
{{- '<start_of_turn>' + ('model' if message.role == 'assistant' else message.role) + '\\n' -}}
{{- (told if loop.first else '') + message.content | trim + '<end_of_turn>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}
"""
GEMMA4 = """\
{{- bos_token -}}
{%- set thinks = enable_thinking | default(false) -%}
{%- if thinks or messages[0].role == 'system' -%}
{{- '<|turn>system\\n' + ('<|think|>\\n' if thinks else '') -}}
{{- (messages[0].content | trim if messages[0].role == 'system' else '') + '<turn|>\\n' -}}
{%- endif -%}
{%- for message in messages if message.role != 'system' -%}
{{- '<|turn>' + ('model' if message.role == 'assistant' else message.role) + '\\n' -}}
{{- (message.content.split('<channel|>') | last) | trim + '<turn|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|turn>model\\n' + ('' if thinks else '<|channel>thought\\n<channel|>') -}}
{%- endif -%}
"""
LLAMA3 = """\
{{- bos_token -}}
{%- if date_string is not defined -%}{%- set date_string = strftime_now('%d %b %Y') -%}{%- endif -%}
{%- set told = messages[0].content | trim if messages[0].role == 'system' else '' -%}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: ' + date_string + '\\n\\n' + told + '<|eot_id|>' -}}
{%- for message in messages if message.role != 'system' -%}
{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content | trim + '<|eot_id|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}{%- endif -%}
"""
MISTRAL = (
    "{{- bos_token -}}"
    + ALTERNATES
    + """\
{%- for message in messages -%}
{%- if message.role == 'user' -%}{{- '[INST] ' + message.content + ' [/INST]' -}}
{%- elif message.role == 'assistant' -%}{{- ' ' + message.content + eos_token -}}
{%- else -%}{{- raise_exception('Only user and assistant roles are supported!') -}}
{%- endif -%}
{%- endfor -%}
"""
)
MISTRAL3 = """\
{{- bos_token -}}
{%- for message in messages -%}
{%- if message.role == 'system' -%}{{- '[SYSTEM_PROMPT]' + message.content + '[/SYSTEM_PROMPT]' -}}
{%- elif message.role == 'user' -%}{{- '[INST]' + message.content + '[/INST]' -}}
{%- else -%}{{- message.content + eos_token -}}
{%- endif -%}
{%- endfor -%}
"""
LFM2 = "{{- bos_token -}}" + CHATML
PHI = """\
{%- for message in messages -%}
{{- '<|' + message.role + '|>\\n' + message.content + '<|end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>\\n' -}}{%- else -%}{{- eos_token -}}{%- endif -%}
"""
"""A conversation that is not to be continued ends with another token than its turns."""


@dataclass(frozen=True)
class Family:
    name: str
    architecture: str
    """The class of the checkpoint on disk, in transformers."""
    template: str
    end_of_turn: str
    """The token that the template puts after an answer."""
    eos: str
    """The tokenizer's end token."""
    bos: str = "<s>"
    specials: tuple[str, ...] = ()
    """Other special tokens."""
    words: tuple[str, ...] = ()
    """Tokens that are not special, such as <think>: decoding keeps them."""
    text: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the language model beside DECODER."""
    whole: Mapping[str, Any] | None = None
    """Settings of the vision-language model around it; None if there is none."""
    ends: tuple[str, ...] = ()
    """All tokens in eos_token_id of generation_config.json; empty: the file names only `eos`."""


THINK = ("<think>", "</think>")
IM = ("<|im_start|>",)
TURN = ("<start_of_turn>",)
VISION: Mapping[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
QWEN_VISION = {
    "depth": 1,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_heads": 2,
    "out_hidden_size": WIDTH,
    "num_position_embeddings": 16,
    "patch_size": 14,
    "spatial_merge_size": 1,
}
LINEAR = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_conv_kernel_dim": 4,
}
WINDOWED = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 32}
PER_LAYER_INPUTS_OFF = {"hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 8, "num_kv_shared_layers": 0}

FAMILIES = (
    Family("qwen2", "Qwen2ForCausalLM", CHATML, "<|im_end|>", "<|im_end|>", specials=IM),
    Family("qwen3", "Qwen3ForCausalLM", QWEN3, "<|im_end|>", "<|im_end|>", specials=IM, words=THINK),
    Family(
        "qwen3_moe", "Qwen3MoeForCausalLM", QWEN3, "<|im_end|>", "<|im_end|>", specials=IM, words=THINK, text=EXPERTS
    ),
    Family(
        "qwen3_5",
        "Qwen3_5ForConditionalGeneration",
        QWEN3_5,
        "<|im_end|>",
        "<|im_end|>",
        specials=IM,
        words=THINK,
        text=LINEAR,
        whole={"vision_config": QWEN_VISION},
    ),
    Family(
        "r1_distil", "Qwen2ForCausalLM", R1_DISTIL, "</s>", "</s>", specials=("<|User|>", "<|Assistant|>"), words=THINK
    ),
    Family(
        "llama3",
        "LlamaForCausalLM",
        LLAMA3,
        "<|eot_id|>",
        "<|eot_id|>",
        specials=("<|start_header_id|>", "<|end_header_id|>", "<|end_of_text|>"),
        ends=("<|end_of_text|>", "<|eot_id|>"),
    ),
    Family(
        "smollm3",
        "SmolLM3ForCausalLM",
        SMOLLM3,
        "<|im_end|>",
        "<|im_end|>",
        specials=IM,
        words=THINK,
        text={"no_rope_layers": [1, 0]},
    ),
    Family("mistral", "MistralForCausalLM", MISTRAL, "</s>", "</s>", text={"sliding_window": None}),
    Family(
        "mistral3",
        "Mistral3ForConditionalGeneration",
        MISTRAL3,
        "</s>",
        "</s>",
        specials=("[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
        text={"model_type": "mistral", "sliding_window": None},
        whole={"vision_config": {**VISION, "model_type": "pixtral", "head_dim": 16}, "spatial_merge_size": 1},
    ),
    Family(
        "gemma2",
        "Gemma2ForCausalLM",
        GEMMA2,
        "<end_of_turn>",
        "<eos>",
        bos="<bos>",
        specials=TURN,
        text=WINDOWED,
        ends=("<eos>", "<end_of_turn>"),
    ),
    Family(
        "gemma3_text",
        "Gemma3ForCausalLM",
        GEMMA3,
        "<end_of_turn>",
        "<eos>",
        bos="<bos>",
        specials=TURN,
        text=WINDOWED,
        ends=("<eos>", "<end_of_turn>"),
    ),
    Family(
        "gemma3",
        "Gemma3ForConditionalGeneration",
        GEMMA3,
        "<end_of_turn>",
        "<eos>",
        bos="<bos>",
        specials=TURN,
        text=WINDOWED,
        whole={"vision_config": VISION, "mm_tokens_per_image": 4},
        ends=("<eos>", "<end_of_turn>"),
    ),
    Family(
        "gemma4",
        "Gemma4ForConditionalGeneration",
        GEMMA4,
        "<turn|>",
        "<eos>",
        bos="<bos>",
        specials=("<|turn>", "<|channel>", "<channel|>", "<|think|>"),
        text={**WINDOWED, **PER_LAYER_INPUTS_OFF, "global_head_dim": 16},
        whole={"vision_config": VISION, "audio_config": None},
        ends=("<eos>", "<turn|>"),
    ),
    Family(
        "lfm2",
        "Lfm2ForCausalLM",
        LFM2,
        "<|im_end|>",
        "<|im_end|>",
        bos="<|startoftext|>",
        specials=IM,
        text={"layer_types": ["conv", "full_attention"], "block_ff_dim": 128, "block_auto_adjust_ff_dim": False},
    ),
    Family(
        "phi3",
        "Phi3ForCausalLM",
        PHI,
        "<|end|>",
        "<|endoftext|>",
        specials=("<|system|>", "<|user|>", "<|assistant|>"),
        ends=("<|endoftext|>", "<|assistant|>", "<|end|>"),
    ),
)
BY_NAME: Mapping[str, Family] = {family.name: family for family in FAMILIES}


def build_family(name: str, directory: Path) -> Path:
    """Write the family's model into `directory`, the same files every time; returns `directory`."""
    family = BY_NAME[name]
    _random_model(family, save_tokenizer(family, directory)).save_pretrained(directory)
    return directory


def save_tokenizer(family: Family, directory: Path) -> Any:
    """Write the family's tokenizer with its template, and return it."""
    from transformers import AddedToken

    named = [family.eos, family.end_of_turn, family.bos, "<pad>", *family.specials, *family.ends]
    tokenizer = trained_tokenizer(SENTENCES, list(dict.fromkeys(named)), eos=family.eos, bos=family.bos, pad="<pad>")
    tokenizer.add_tokens([AddedToken(word, special=False, normalized=False) for word in family.words])
    tokenizer.chat_template = family.template
    tokenizer.save_pretrained(directory)
    return tokenizer


def _random_model(family: Family, tokenizer: Any) -> Any:
    import torch
    import transformers

    text = {**DECODER, **vocabulary_of(tokenizer), **family.text}
    architecture = getattr(transformers, family.architecture)
    if family.whole is None:
        config = architecture.config_class(**text)
    else:
        config = architecture.config_class(text_config=text, **family.whole, image_token_id=0, tie_word_embeddings=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = architecture(config)
    ends = family.ends or (family.eos,)
    model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(list(ends))
    return model
