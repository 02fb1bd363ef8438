"""A tiny random-weight chat model with a real tokenizer, built in a second without a hub."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from storage.adapters.folder_store import AdapterRef

SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SENTENCES = [
    "system\nYou are a friendly member of this server. Answer briefly and plainly.",
    "user\nHow are you today? What should I eat for lunch? Tell me a joke, please!",
    "assistant\nI am fine, thank you. Try the soup, it is warm and good.",
    "Yes, of course. No, sorry, I do not know that one.",
]


def build_tiny_base(directory: Path, positions: int = 512) -> Path:
    """Write a Llama-like chat model (2 layers, width 32, ChatML template, eos `<|im_end|>`) into `directory`.

    The same files come out every time; returns `directory`.
    """
    tokenizer = trained_tokenizer(SENTENCES, SPECIAL_TOKENS, eos="<|im_end|>", bos="<|im_start|>", pad="<|endoftext|>")
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(directory)
    _save_model(directory, tokenizer, positions)
    return directory


def change_json(file: Path, **values: object) -> None:
    """Set values of a JSON file, such as a model's configuration."""
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def trained_tokenizer(
    sentences: list[str], specials: list[str], *, eos: str, bos: str, pad: str, tokens: int = 400
) -> Any:
    """Return a byte-level tokenizer of so many tokens, without a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        sentences,
        trainers.BpeTrainer(vocab_size=tokens, special_tokens=specials, initial_alphabet=alphabet, show_progress=False),
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=eos, bos_token=bos, pad_token=pad)


def vocabulary_of(tokenizer: Any) -> dict[str, Any]:
    """Return what a model's configuration says of its words."""
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    ids = {name: getattr(tokenizer, name) for name in names}
    return {"vocab_size": len(tokenizer), "tie_word_embeddings": True} | ids


def _save_model(directory: Path, tokenizer: Any, positions: int) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        **vocabulary_of(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(directory)


def save_adapter(base: Path, directory: Path, seed: int) -> AdapterRef:
    """Write a random adapter, strong enough to change a greedy answer."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = LoraConfig(r=4, lora_alpha=64, target_modules="all-linear", init_lora_weights=False)
        get_peft_model(model, config).save_pretrained(directory)
    return AdapterRef(hashlib.sha256(str(seed).encode()).hexdigest(), directory)
