"""A tiny random-weight base that sees: Gemma 3 with its vision tower and processor, built without a hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.families import BY_NAME, DECODER, VISION, WINDOWED
from tests.tiny_model import SENTENCES, trained_tokenizer, vocabulary_of

GEMMA = BY_NAME["gemma3"]
BEGIN, PLACE, END = "<start_of_image>", "<image_soft_token>", "<end_of_image>"
PLACES = 4
"""Tokens that stand for a picture."""
TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
{{- '<start_of_turn>' + ('model' if message.role == 'assistant' else message.role) + '\\n' -}}
{%- if message.content is string -%}{{- message.content | trim -}}
{%- else -%}
{%- for part in message.content -%}
{{- '<start_of_image>' if part.type == 'image' else part.text | trim -}}
{%- endfor -%}
{%- endif -%}
{{- '<end_of_turn>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}
"""


def build_seeing_base(directory: Path, positions: int = 512) -> Path:
    """Write the model with its processor into `directory`, the same files every time; returns `directory`."""
    _random_model(_save_processor(directory), positions).save_pretrained(directory)
    return directory


def _save_processor(directory: Path) -> Any:
    from transformers import Gemma3ImageProcessor, Gemma3Processor

    named = [GEMMA.eos, GEMMA.end_of_turn, GEMMA.bos, "<pad>", *GEMMA.specials, BEGIN, PLACE, END]
    tokenizer = trained_tokenizer(SENTENCES, named, eos=GEMMA.eos, bos=GEMMA.bos, pad="<pad>")
    tokenizer._set_model_specific_special_tokens({"boi_token": BEGIN, "image_token": PLACE, "eoi_token": END})
    tokenizer.chat_template = TEMPLATE
    side = VISION["image_size"]
    pictures = Gemma3ImageProcessor(size={"height": side, "width": side})
    Gemma3Processor(pictures, tokenizer, chat_template=TEMPLATE, image_seq_length=PLACES).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return tokenizer


def _random_model(tokenizer: Any, positions: int) -> Any:
    import torch
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    begin, place, end = tokenizer.convert_tokens_to_ids([BEGIN, PLACE, END])
    config = Gemma3Config(
        text_config={**DECODER, **WINDOWED, **vocabulary_of(tokenizer), "max_position_embeddings": positions},
        vision_config={**VISION, "vision_use_head": False},
        mm_tokens_per_image=PLACES,
        boi_token_index=begin,
        image_token_index=place,
        eoi_token_index=end,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Gemma3ForConditionalGeneration(config)
        # As published, the projection is zero at first: every picture would look the same.
        torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight)
    model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids([GEMMA.eos, GEMMA.end_of_turn])
    return model
