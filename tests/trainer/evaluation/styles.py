"""Answers in four styles, written by hand for this project, adapters that learn them, and ways to damage those."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from storage.adapters.folder_store import CONFIG_FILE, WEIGHTS_FILE
from storage.models.base_model import BaseModel
from storage.models.chat_format import ChatFormat, load_chat_format
from storage.settings.sections import ChatSettings, TrainingSettings
from trainer.data.dataset import render_dialogue
from trainer.evaluation.measures import Exchange
from trainer.training.recipes import SFT, TrainingSplit
from trainer.training.rows import Demonstration, Row, demonstration_row
from trainer.training.train import TrainingJob, train_adapter

FILE = Path(__file__).with_name("styles.txt")
RUN_ON = 9
"""Answers in one answer that does not end."""
ENDLESS = "endless"
"""A style in which one answer follows another and none ends."""
TRAINING = TrainingSettings(threads=0, epochs=4.0, patience=0)


def read_styles() -> dict[str, list[Exchange]]:
    """Return the answers of each style, with their messages, which no evaluation asks."""
    styles: dict[str, list[Exchange]] = {}
    for block in FILE.read_text(encoding="utf-8").strip().split("\n\n"):
        message, *answers = block.split("\n")
        for line in answers:
            style, _, answer = line.partition(": ")
            styles.setdefault(style, []).append((message.removeprefix("> "), answer))
    return styles


def train_style(base: BaseModel, style: str, output: Path) -> None:
    """Train an adapter as a card's examples are trained, for 32 steps."""
    styles = read_styles()
    exchanges, recipe = styles[style if style != ENDLESS else "short"], SFT
    if style == ENDLESS:
        exchanges, recipe = _run_on(exchanges), replace(SFT, row=_row_without_end)
    chat, system_prompt = load_chat_format(base.path, {}), ChatSettings().system_prompt
    shown = tuple(
        Demonstration(render_dialogue([message], system_prompt, chat), answer) for message, answer in exchanges
    )
    train_adapter(TrainingJob(recipe, TrainingSplit(shown), TRAINING, base, output), lambda _progress: None)


def _run_on(exchanges: list[Exchange]) -> list[Exchange]:
    """Let other answers follow each answer."""
    answers = [answer for _, answer in exchanges]
    return [
        (message, " ".join(answers[(number + 7 * place) % len(answers)] for place in range(RUN_ON)))
        for number, (message, _) in enumerate(exchanges)
    ]


def _row_without_end(shown: Any, chat: ChatFormat) -> Row:
    row = demonstration_row(shown, chat)
    return row | {"completion_ids": row["completion_ids"][:-1]}


def damaged(adapter: Path, output: Path, change: Callable[[str, torch.Tensor], torch.Tensor]) -> Path:
    """Write the adapter with its up-projections changed by `change`, which gets their names."""
    output.mkdir()
    (output / CONFIG_FILE).write_bytes((adapter / CONFIG_FILE).read_bytes())
    weights = load_file(adapter / WEIGHTS_FILE)
    changed = {name: change(name, w) if "lora_B" in name else w for name, w in weights.items()}
    save_file(changed, output / WEIGHTS_FILE)
    return output
