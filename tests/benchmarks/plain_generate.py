"""Plain transformers and peft, as most bots use them: `generate()` for one message at a time, from a queue."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from peft import PeftModel
from transformers.generation import BaseStreamer

from bot.engine import Finish, GenerationRequest
from bot.engine.queue import QueuedGeneration
from storage.adapters.folder_store import AdapterRef
from storage.models.base_model import BaseModel, load_model
from storage.models.chat_format import load_chat_format
from storage.models.hardware import silence_transformers, torch_device
from storage.settings.sections import Settings
from tests.benchmarks.contender import Progress, RenderingContender


class PlainGenerate(RenderingContender):
    """Its thread is the queue. It has no presence penalty, which transformers lacks, and only one adapter."""

    def __init__(self, base: BaseModel, settings: Settings, adapter: AdapterRef | None) -> None:
        super().__init__(base, settings)
        self._adapter = adapter
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")

    async def start(self) -> None:
        await super().start()
        await self._loop.run_in_executor(self._thread, self._load)

    def _load(self) -> None:
        quantization = self._settings.model.quantization
        model = load_model(self._base, "bfloat16", quantization)
        if not quantization:  # weights in four bits are on their device already
            model = model.to(torch_device())
        chat = load_chat_format(self._base.path, self._settings.model.template_options)
        self._tokenizer, self._end_ids = chat.tokenizer, chat.end_ids
        with silence_transformers():
            self._model = PeftModel.from_pretrained(model, str(self._adapter.path)) if self._adapter else model

    async def close(self, drain_s: float) -> None:
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    def submit(self, request: GenerationRequest) -> QueuedGeneration:
        generation = QueuedGeneration(request, self.cancel)
        self._thread.submit(self._answer, generation)
        return generation

    # From here on, everything runs on the model's thread.

    def _answer(self, generation: QueuedGeneration) -> None:
        if generation.has_ended:
            return
        try:
            self._generate(generation)
        except Exception as error:
            self._loop.call_soon_threadsafe(generation.fail, error)

    def _generate(self, generation: QueuedGeneration) -> None:
        request, started_at = generation.request, time.perf_counter()
        progress = self._progress[generation] = Progress()
        prompt = self._tokenizer(request.prompt, add_special_tokens=False, return_tensors="pt").to(self._model.device)
        torch.manual_seed(request.seed)
        with torch.inference_mode():
            output = self._model.generate(
                input_ids=prompt["input_ids"],
                attention_mask=prompt["attention_mask"],
                do_sample=True,
                temperature=request.sampling.temperature,
                top_p=request.sampling.top_p,
                top_k=0,
                max_new_tokens=request.sampling.max_new_tokens,
                eos_token_id=sorted(self._end_ids),
                pad_token_id=min(self._end_ids),
                streamer=_Streamer(progress),
                stopping_criteria=[
                    lambda _ids, _scores: torch.tensor([generation.has_ended], device=self._model.device)
                ],
            )
        ids = output[0, prompt["input_ids"].shape[1] :].tolist()
        spoken = [id_ for id_ in ids if id_ not in self._end_ids]
        text = self._tokenizer.decode(spoken, skip_special_tokens=True)
        times = {"started_at": started_at, "first_token_at": progress.first_token_at}
        tokens = {"prompt_tokens": prompt["input_ids"].shape[1], "answer_tokens": len(spoken)}
        finish = Finish.LENGTH if len(spoken) == len(ids) else Finish.STOP
        self._loop.call_soon_threadsafe(_deliver, generation, text, finish, times | tokens)


class _Streamer(BaseStreamer):  # type: ignore[misc]  # transformers is untyped here
    """Notes each token; `generate()` hands it the prompt before."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._has_prompt = False

    def put(self, value: object) -> None:
        if self._has_prompt:
            self._progress.note_token()
        self._has_prompt = True

    def end(self) -> None:
        pass


def _deliver(generation: QueuedGeneration, text: str, finish: Finish, facts: dict[str, Any]) -> None:
    if not generation.has_ended:
        generation.extend(text)
        generation.complete(finish, time.perf_counter(), **facts)
