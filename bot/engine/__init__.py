"""Answers: what an engine is. Importing this loads no model library; the engines themselves are submodules."""

from bot.engine.protocol import (
    Completion,
    Engine,
    Finish,
    Generation,
    GenerationFailed,
    GenerationRequest,
    RenderedPrompt,
    Sampling,
)

__all__ = [
    "Completion",
    "Engine",
    "Finish",
    "Generation",
    "GenerationFailed",
    "GenerationRequest",
    "RenderedPrompt",
    "Sampling",
]
