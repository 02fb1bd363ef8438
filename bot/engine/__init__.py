"""Engines, which generate answers. This package only defines the protocol and imports no model library."""

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
