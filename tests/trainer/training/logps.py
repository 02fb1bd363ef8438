"""Log-probabilities of answers, computed plainly, to check what training says of them."""

from __future__ import annotations

from pathlib import Path

import torch

from storage.models.base_model import BaseModel, load_model, load_tokenizer
from storage.models.hardware import silence_transformers


def answer_logp(base: BaseModel, adapter: Path | None, prompt: str, answer: str) -> float:
    """Log-probability in nats that the served prompt is answered so, end token included."""
    from peft import PeftModel

    tokenizer, model = load_tokenizer(base.path), load_model(base, "float32")
    if adapter is not None:
        with silence_transformers():
            model = PeftModel.from_pretrained(model, adapter)
    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    completion = [*tokenizer(answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    with torch.inference_mode():
        logits = model(torch.tensor([ids + completion])).logits[0, len(ids) - 1 : -1]
    return float(logits.log_softmax(-1).gather(1, torch.tensor(completion)[:, None]).sum())


def log_ratio(base: BaseModel, adapter: Path, parent: Path | None, prompt: str, answer: str) -> float:
    """How much likelier the answer is with the adapter than with its parent (the base where None), in nats."""
    return answer_logp(base, adapter, prompt, answer) - answer_logp(base, parent, prompt, answer)
