"""OpenVINO pipelines and their graphs on disk: one folder for each version and strength, built when first needed.

Imports OpenVINO only to build one: the bot's own process uses this module.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import TypeAdapter
from tokenizers import Tokenizer

from storage.adapters.folder_store import AdapterRef
from storage.errors import StorageError
from storage.files import sha256_of, sync_to_disk
from storage.models.base_model import BaseModel
from storage.models.effect import EffectCheck, EffectRecord, WrongEffect, read_effect
from storage.models.openvino.recipes import GraphRecipe, read_verdict
from storage.wording import BASE_NAME, format_bytes

log = logging.getLogger(__name__)


GRAPHS = "engine"
"""Folder of all graphs, in the data folder."""
MODEL_FILE = "openvino_model.xml"
CHECKSUMS_FILE = "SHA256SUMS"
STAGING_SUFFIX = ".staging"
SHOWN_DIGITS = 16
"""Number of digits of an adapter's digest in the name of its graph."""
LAYOUT = "4"
"""Version of rounding and building; graphs of another layout are rebuilt and compared again."""
BLOCK_TOKENS = 32
"""Positions in a block of the cache, as OpenVINO lays it out on CPUs."""
STEP_TOKENS = 256
"""Maximum number of tokens of one step: a long prompt is read in pieces, so that other answers continue in between."""
ROUND_ACTIVATIONS = "DYNAMIC_QUANTIZATION_GROUP_SIZE"
PIN_THREADS = "ENABLE_CPU_PINNING"
"""The option is on by default: a pinned thread whose core is busy cannot move, and all other threads wait for it."""
PRECISIONS = {"bfloat16": "bf16", "float16": "f16", "float32": "f32"}


class GraphNotWritten(StorageError):
    def __init__(self, folder: Path, cause: Exception) -> None:
        free = shutil.disk_usage(folder).free
        super().__init__(f"its graph cannot be written to {folder} ({format_bytes(free)} free): {cause}")


def graph_folder(base: BaseModel, data_directory: Path) -> Path:
    """Return the folder for the graphs of this base, layout and OpenVINO release."""
    return data_directory / GRAPHS / f"{base.revision}-{LAYOUT}-{version('openvino-genai')}"


def verdict_file(folder: Path, dtype: str) -> Path:
    """Return the file with the verdict on a folder's graphs for activations in this format."""
    return folder / f"verified-{dtype}.json"


def graph_name(adapter: AdapterRef | None) -> str:
    """Return the name of a version's graph at a strength, unique within its base."""
    return f"{adapter.digest[:SHOWN_DIGITS]}_{adapter.strength:g}" if adapter else BASE_NAME


def remove_graphs_of(digests: Collection[str], data_directory: Path) -> None:
    """Remove the graphs of these adapters at any strength; processes that have one open can still read it."""
    for digest in digests:
        for graph in (data_directory / GRAPHS).glob(f"*/{digest[:SHOWN_DIGITS]}_*/"):
            with FileLock(_lock_of(graph)):
                shutil.rmtree(graph, ignore_errors=True)


@dataclass(frozen=True)
class GraphCache:
    """A folder of graphs, each complete or absent; several processes may use it."""

    base: BaseModel
    folder: Path
    weight_bits: int

    def prepare(self, adapter: AdapterRef | None) -> Path:
        """Return the folder of the version's graph, building it first if it is missing or altered.

        Raises GraphNotWritten and the errors of `build_graph`.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        target = self.folder / graph_name(adapter)
        with self._lock(target.name):
            if not _is_sound(target, self.weight_bits):
                self._build(adapter, target)
            os.utime(target)
        return target

    def prune(self, keep: int) -> None:
        """Remove all graphs except the `keep` most recently loaded ones, and unfinished ones."""
        loaded = {folder: _loaded_at(folder) for folder in self.folder.glob("[!.]*/")}
        for folder in sorted(loaded, key=loaded.__getitem__)[:-keep]:
            self._remove_idle(folder, folder.name)
        for staging in self.folder.glob(f".*{STAGING_SUFFIX}/"):
            self._remove_idle(staging, staging.name[1:].removesuffix(STAGING_SUFFIX))

    def _remove_idle(self, folder: Path, name: str) -> None:
        with contextlib.suppress(Timeout), self._lock(name, timeout=0):  # another process is using it
            shutil.rmtree(folder, ignore_errors=True)

    def _lock(self, name: str, timeout: float = -1) -> FileLock:
        return FileLock(_lock_of(self.folder / name), timeout=timeout)

    def _build(self, adapter: AdapterRef | None, target: Path) -> None:
        import openvino as ov

        from storage.models.openvino.graph import build_graph

        log.info(
            "Building the OpenVINO graph of %s on %s, once: seconds for a small model.", target.name, self.base.name
        )
        model = build_graph(self.base.path, adapter, self.weight_bits)
        staging = self.folder / f".{target.name}{STAGING_SUFFIX}"
        _remove(staging)
        try:
            staging.mkdir()
            ov.save_model(model, staging / MODEL_FILE, compress_to_fp16=False)
            (staging / CHECKSUMS_FILE).write_text(_checksums(staging, target.name, self.weight_bits), encoding="ascii")
            sync_to_disk(staging)
            _remove(target)
            staging.rename(target)
        except (OSError, RuntimeError) as error:  # OpenVINO raises RuntimeError
            _remove(staging)
            raise GraphNotWritten(self.folder, error) from error


def _lock_of(graph: Path) -> Path:
    """Return the file that is locked while a graph is built or removed."""
    return graph.with_name(f".{graph.name}.lock")


def _checksums(folder: Path, version: str, weight_bits: int) -> str:
    """Return lines in the format of `sha256sum`; their first comment keeps one graph from passing for another."""
    files = [folder / MODEL_FILE, (folder / MODEL_FILE).with_suffix(".bin")]
    sums = "".join(f"{sha256_of(file)}  {file.name}\n" for file in files)
    return f"# {version}, {weight_bits} bits\n{sums}"


def _is_sound(folder: Path, weight_bits: int) -> bool:
    """Return whether the graph exists unaltered: altered weights would go unnoticed until the answers are wrong."""
    try:
        return (folder / CHECKSUMS_FILE).read_text(encoding="ascii") == _checksums(folder, folder.name, weight_bits)
    except (OSError, ValueError):
        return False


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _loaded_at(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:  # another process has just removed it
        return 0.0


@dataclass(frozen=True)
class PipelineOptions:
    base: BaseModel
    folder: Path
    adapter: AdapterRef | None
    batch_size: int
    """Maximum number of answers generated at once."""
    cached_tokens: int
    """Number of tokens of prompts and answers whose keys and values are cached."""
    threads: int
    dtype: str
    """Format of activations: a key of PRECISIONS."""
    recipe: GraphRecipe
    kept_graphs: int
    """Number of graphs to keep on disk, the most recently used."""

    def to_json(self) -> str:
        return TypeAdapter(PipelineOptions).dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str) -> PipelineOptions:
        return TypeAdapter(cls).validate_json(text)


def load_pipeline(options: PipelineOptions) -> Any:
    """Return the version's pipeline; raises WrongEffect, and the errors of broken models, adapters and graphs."""
    from openvino_genai import ContinuousBatchingPipeline, SchedulerConfig

    cache = GraphCache(options.base, options.folder, options.recipe.weight_bits)
    graph = cache.prepare(options.adapter)
    scheduler = SchedulerConfig()
    scheduler.max_num_seqs = options.batch_size
    scheduler.max_num_batched_tokens = STEP_TOKENS
    scheduler.enable_prefix_caching = True
    scheduler.num_kv_blocks = -(-options.cached_tokens // BLOCK_TOKENS)
    try:
        computing = properties(options.dtype, options.recipe, options.threads)
        pipeline = ContinuousBatchingPipeline(str(graph), scheduler, "CPU", computing)
    finally:
        cache.prune(options.kept_graphs)
    if options.adapter:
        _require_effect(pipeline, options, options.adapter, graph)
    return pipeline


def _require_effect(pipeline: Any, options: PipelineOptions, adapter: AdapterRef, graph: Path) -> None:
    """Raise WrongEffect if the graph's effect is not the trainer's; without a record there is nothing to compare.

    The graph was built from all of the adapter's tensors, and its checksums name the version.
    """
    effect = read_effect(adapter.path)
    if effect is None:
        return
    found = _log_probabilities(pipeline, effect.tokens)
    base = _log_probabilities_of_base(verdict_file(options.folder, options.dtype), effect)
    if fault := EffectCheck(adapter, effect, effect.tokens).fault(found, base):
        raise WrongEffect(adapter, fault, f"delete {graph}, so that its graph is built again, or roll back")


def _log_probabilities_of_base(verdict: Path, effect: EffectRecord) -> Sequence[float]:
    """Return the base graph's log-probabilities of the record's text; the trainer's if those are unknown.

    4-bit weights change log-probabilities by more than an adapter may differ from its record.
    """
    found = read_verdict(verdict)
    measured = found.effect if found else None
    return measured.log_probabilities if measured and measured.tokens == effect.tokens else effect.base


def _log_probabilities(pipeline: Any, tokens: Sequence[int]) -> list[float]:
    """Return the log-probability of each token except the first, in nats; the pipeline must be new.

    OpenVINO gives none for tokens in its prefix cache.
    """
    import numpy as np
    import openvino as ov
    from openvino_genai import GenerationConfig

    config = GenerationConfig()
    config.max_new_tokens = 1
    config.echo = True
    config.logprobs = 1
    config.set_eos_token_id(0)  # it insists on one
    handle = pipeline.add_request(0, ov.Tensor(np.array([tokens], dtype=np.int64)), generation_config=config)
    while pipeline.has_non_finished_requests():
        pipeline.step()
    (output,) = handle.read_all()
    found: list[float] = output.generated_log_probs[1 : len(tokens)]
    return found


def load_plain_tokenizer(base_path: Path) -> Tokenizer:
    """Return the base's tokenizer without truncation and padding, even if its file sets them."""
    tokenizer = Tokenizer.from_file(str(base_path / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def properties(dtype: str, recipe: GraphRecipe, threads: int = 0) -> dict[str, object]:
    """Return OpenVINO's properties for this precision, recipe and, unless it is 0, number of threads."""
    always: dict[str, object] = {
        ROUND_ACTIVATIONS: recipe.activation_group,
        PIN_THREADS: False,
        "INFERENCE_PRECISION_HINT": PRECISIONS[dtype],
    }
    return always | ({"INFERENCE_NUM_THREADS": threads} if threads else {})


def generation_config(
    *,
    temperature: float,
    top_p: float,
    presence_penalty: float,
    max_new_tokens: int,
    seed: int,
    end_ids: Collection[int],
) -> Any:
    """Return OpenVINO's configuration for one answer; a temperature of 0 is greedy."""
    from openvino_genai import GenerationConfig

    config = GenerationConfig()
    config.max_new_tokens = max_new_tokens
    config.do_sample = temperature > 0
    if config.do_sample:
        config.temperature = temperature
        config.top_p = top_p
    config.presence_penalty = presence_penalty
    config.rng_seed = seed
    if end_ids:
        config.set_eos_token_id(min(end_ids))
        config.stop_token_ids = set(end_ids)
    else:
        config.ignore_eos = True
    return config
