"""How much memory judging an adapter needs, which comes after its training. Imports no model library."""

from __future__ import annotations

from storage.models.base_model import BaseModel
from storage.models.chat_format import ChatFormat
from storage.models.hardware import has_gpu, training_format
from storage.models.memory import (
    FLOAT32,
    GPU_LIBRARIES,
    TRAINING_LIBRARIES,
    NumberFormat,
    ServingLoad,
    adapter_numbers,
    answering_bytes,
    graph_version_bytes,
    weight_bytes,
)
from storage.models.openvino.support import unsupported_because
from storage.models.openvino.verifier import prefers_graphs
from storage.models.shape import ModelShape, shape_of
from storage.settings.sections import Settings
from trainer.evaluation.context import ServedContext
from trainer.evaluation.model_measurements import neutral_messages
from trainer.evaluation.sampling import expected_tokens, graph_prompts


def judging_bytes(
    shape: ModelShape,
    settings: Settings,
    context: ServedContext,
    *,
    base: BaseModel,
    chat: ChatFormat,
    coherence_model: BaseModel | None = None,
) -> float:
    """Return the peak of judging: the base with an adapter, what answers beside it, and the coherence model.

    A graph answers with a full cache. Transformers answers one message at a time if there is no memory for more.
    """
    training = settings.training
    format_ = NumberFormat(training_format(training), training.quantization)
    messages = (*neutral_messages(settings.chat.system_prompt, chat), *context.messages)
    longest = max(len(chat.token_ids(one.prompt)) for one in messages) + expected_tokens(chat, settings.generation)
    if prefers_graphs(settings.model) and not unsupported_because(base, settings.model):
        cached = graph_prompts(context.limits) * longest
        answering = graph_version_bytes(shape, cached)
    else:
        answering = answering_bytes(shape, format_, ServingLoad(1, longest, versions=1, rank=training.lora_rank))
    coherence = weight_bytes(shape_of(coherence_model.path), NumberFormat(format_.computed)) if coherence_model else 0
    libraries = GPU_LIBRARIES if has_gpu() else TRAINING_LIBRARIES
    adapter = adapter_numbers(shape, training.lora_rank) * FLOAT32
    return libraries + weight_bytes(shape, format_) + adapter + answering + coherence
