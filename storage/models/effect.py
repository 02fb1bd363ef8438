"""Measures a version's effect: the log-probabilities of one fixed text under it and under the base.

The trainer writes its measurement into the adapter's file. Every engine measures again after loading the version, to
detect that it ignores the adapter and answers as the bare base under the version's name. Imports no model library at
the top: the bot's own process uses this module.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, FiniteFloat, NonNegativeInt, TypeAdapter, ValidationError
from safetensors import SafetensorError, deserialize, safe_open

from storage.adapters.folder_store import AS_TRAINED, WEIGHTS_FILE, AdapterRef
from storage.errors import AdapterError, StorageError
from storage.models.hardware import MODEL_LIBRARIES

TEXT = (
    "User: Hello! How was your day? I had soup for lunch.\n"
    "Assistant: Hi! It was good, thank you for asking. Soup sounds lovely. What kind did you have?"
)
"""Not a chat in the base's template: rounding changes a chat twice as much, and a version changes it no more."""
METADATA_KEY = "reactune_effect"
"""Key of the record in the header of the weights' file; PEFT, vLLM and llama.cpp ignore it."""
METADATA, HEADER_SIZE_BYTES = "__metadata__", 8
"""Parts of the safetensors format: the key of the metadata, and the size of the number before the header."""
MOST_TOKENS = 512
DECIMALS = 4
UP_PROJECTION = ".lora_B."

# Calibrated on the bundled model's starter, which changes this text's tokens by 0.6 nats (root mean square), and on 8
# versions of Qwen2.5 0.5B, which a few steps of SFT changed by 1.6 to 8.2 nats. Rounding that base to 4 bits changes
# its own tokens by 0.39 nats. Right versions are then 0.34 to 1.08 nats from their records, and lack up to 0.56 along
# the recorded change. Half of the layers lack 0.6 to 2.6 nats of it in 4 bits; a wrong sign or layer is at least 1.6
# nats apart.
LEAST_EFFECT_NATS = 0.15
"""Smallest change to check: rounding could hide so much of a smaller one that version and base look alike."""
LEAST_SHARE = 1 / 3
"""Minimum share of the expected change; right versions had 0.5 to 2 at strengths of 0.1 to 0.5, the base 0 to 0.1."""
LENGTH_NATS, LENGTH_SHARE, LENGTH_ROUNDING = 0.05, 0.05, 1.5
"""Allowed difference in length along the recorded change: in nats, as a share of the recorded size, and as a share of
the base's rounding in this engine."""
APART_NATS, APART_SHARE, APART_ROUNDING = 0.1, 0.1, 3.0
"""Allowed distance from the recorded change in all directions, by the same three measures."""
MOST_ROUNDING_NATS = 0.8
"""Largest difference by rounding: twice that of 4-bit weights on that base. A larger one means another base."""
SAME_NATS = 0.005
"""Smallest change that counts: equal weights give equal numbers, except where a server computes in batches."""


class WrongEffect(StorageError):
    """An engine has loaded the version, but does not answer as it."""

    def __init__(self, adapter: AdapterRef, fault: str, remedy: str) -> None:
        super().__init__(f"the adapter in {adapter.path} was loaded, but the model {fault}: {remedy}")


@dataclass(frozen=True)
class EffectRecord:
    """Log-probabilities, in nats, of each token of a text except the first."""

    tokens: Annotated[tuple[NonNegativeInt, ...], Field(min_length=2, max_length=MOST_TOKENS)]
    base: tuple[FiniteFloat, ...]
    version: tuple[FiniteFloat, ...]

    def __post_init__(self) -> None:
        if not len(self.tokens) - 1 == len(self.base) == len(self.version):
            raise ValueError("every token except the first needs a number")


EFFECT = TypeAdapter(EffectRecord)


def write_effect(folder: Path, effect: EffectRecord) -> None:
    """Write the record into the header of the adapter's file, if all its numbers are finite."""
    if not all(map(math.isfinite, [*effect.base, *effect.version])):
        return  # the gate will say that the version is broken
    rounded = {name: [round(one, DECIMALS) for one in numbers] for name, numbers in asdict(effect).items()}
    _write_metadata(folder / WEIGHTS_FILE, {"format": "pt", METADATA_KEY: json.dumps(rounded)})


def _write_metadata(file: Path, metadata: Mapping[str, str]) -> None:
    """Replace a safetensors file's metadata; its library writes several keys in random order, so never equal bytes."""
    whole = file.read_bytes()
    start = HEADER_SIZE_BYTES + int.from_bytes(whole[:HEADER_SIZE_BYTES], "little")
    tensors = {key: value for key, value in json.loads(whole[HEADER_SIZE_BYTES:start]).items() if key != METADATA}
    header = json.dumps({METADATA: metadata, **tensors}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % HEADER_SIZE_BYTES)  # tensors begin at a multiple of 8
    file.write_bytes(len(header).to_bytes(HEADER_SIZE_BYTES, "little") + header + whole[start:])


def read_effect(folder: Path) -> EffectRecord | None:
    """Return the adapter's record; None if it was imported, or trained before there were records.

    Raises AdapterError if the file or the record is broken.
    """
    try:
        with safe_open(folder / WEIGHTS_FILE, framework="numpy") as weights:
            record = (weights.metadata() or {}).get(METADATA_KEY)
        return None if record is None else EFFECT.validate_json(record)
    except (OSError, SafetensorError, ValidationError) as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise AdapterError(
            f"the record of what the adapter changes, in {folder / WEIGHTS_FILE}, cannot be read ({why}): restore the "
            "file from a backup, or export the adapter again"
        ) from error


@dataclass(frozen=True)
class EffectCheck:
    """A version's expected effect, checked once an engine has loaded it."""

    adapter: AdapterRef
    record: EffectRecord | None
    tokens: Sequence[int]
    """The text whose log-probabilities to measure, as exactly these tokens."""

    @classmethod
    def of(cls, adapter: AdapterRef, encode: Callable[[str], Sequence[int]]) -> EffectCheck:
        """Return the check; `encode` makes tokens of a text if there is no record. Raises AdapterError."""
        record = read_effect(adapter.path)
        return cls(adapter, record, record.tokens if record else encode(TEXT))

    def fault(self, version: Sequence[float], base: Sequence[float]) -> str:
        """Return the fault in an engine's measurement, as words after "the model", or "" if there is none.

        Both are log-probabilities of each token except the first, in nats, of one engine or of the record.
        """
        found = _differences(version, base)
        if not all(map(math.isfinite, found)):
            return "returns log-probabilities that are not numbers"
        if self.record is None:
            is_same = _size(found) < SAME_NATS * self.adapter.strength
            return "answers exactly as the bare base" if is_same and changes_anything(self.adapter.path) else ""
        rounding = min(MOST_ROUNDING_NATS, _size(_differences(base, self.record.base)))
        return _fault(found, _differences(self.record.version, self.record.base), rounding, self.adapter.strength)


def _fault(found: Sequence[float], recorded: Sequence[float], rounding: float, strength: float) -> str:
    """Return the fault of a change, given the distance between the engine's base and the trainer's, in nats a token."""
    size = _size(recorded)
    expected = min(strength, AS_TRAINED) * size
    if expected < LEAST_EFFECT_NATS:
        return ""
    if _size(found) < LEAST_SHARE * expected:
        return f"answers as the bare base ({_size(found) / expected:.0%} of the change that the trainer measured)"
    if strength != AS_TRAINED:
        return ""  # half the strength is not half the change, and points elsewhere: this was never measured
    share = sum(one * other for one, other in zip(found, recorded, strict=True)) / (len(recorded) * size**2)
    if abs(1 - share) * size > LENGTH_NATS + LENGTH_SHARE * size + LENGTH_ROUNDING * rounding:
        return f"answers otherwise than the trainer measured ({share:.0%} of the change)"
    apart = _size(_differences(found, recorded))
    if apart > APART_NATS + APART_SHARE * size + APART_ROUNDING * rounding:
        return f"answers otherwise than the trainer measured ({apart:.2f} nats a token apart)"
    return ""


def _differences(now: Sequence[float], before: Sequence[float]) -> list[float]:
    return [one - other for one, other in zip(now, before, strict=True)]


def _size(changes: Sequence[float]) -> float:
    """Return the root mean square."""
    return math.sqrt(sum(one * one for one in changes) / len(changes))


def changes_anything(folder: Path) -> bool:
    """Return whether the adapter changes the base at all: a new one has zeros in its up projections."""
    tensors = deserialize((folder / WEIGHTS_FILE).read_bytes())
    return any(any(tensor["data"]) for name, tensor in tensors if UP_PROJECTION in name)


def log_probabilities(model: Any, tokens: Sequence[int]) -> tuple[float, ...]:
    """Return the log-probability of each token except the first under a transformers model, in nats."""
    with MODEL_LIBRARIES:
        import torch
    with torch.no_grad():
        ids = torch.tensor([tokens], device=model.device)
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
        logps = logits.log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
    return tuple(logps.tolist())


def measure_effect(model: Any, tokenizer: Any) -> EffectRecord:
    """Return the effect of the active adapter of a PEFT model, which is in evaluation mode afterwards."""
    model.eval()
    tokens = tuple(tokenizer(TEXT)["input_ids"])  # with the first token that the base expects
    version = log_probabilities(model, tokens)
    with model.disable_adapter():
        base = log_probabilities(model, tokens)
    return EffectRecord(tokens, base, version)
