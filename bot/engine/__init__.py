"""Answers: what an engine is. Importing this loads no model library; the engines themselves are submodules."""

from bot.engine.protocol import (
    Completion,
    Engine,
    EngineState,
    Finish,
    Generation,
    GenerationFailed,
    GenerationRequest,
    RenderedPrompt,
    Sampling,
    engine_state,
)

__all__ = [
    "Completion",
    "Engine",
    "EngineState",
    "Finish",
    "Generation",
    "GenerationFailed",
    "GenerationRequest",
    "RenderedPrompt",
    "Sampling",
    "engine_state",
]
