"""Where graphs are and how they are loaded. Imports no model library: the bot's own process uses this."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock

from storage.adapters.folder_store import AdapterRef
from storage.models.base_model import BaseModel

GRAPHS = "engine"
"""Folder of all graphs, in the data folder."""
SHOWN_DIGITS = 16
"""Of an adapter's digest, in the name of its graph."""
RECIPE = "int8-64-2"
"""Names how graphs are made; another recipe makes them anew."""


def lock_of(graph: Path) -> Path:
    """Return the file that is locked while a graph is made or removed."""
    return graph.with_name(f".{graph.name}.lock")


def remove_graphs_of(digests: Collection[str], data_directory: Path) -> None:
    """Remove the graphs that were made from these adapters at any strength; what has them open reads on."""
    for digest in digests:
        for graph in (data_directory / GRAPHS).glob(f"*/{digest[:SHOWN_DIGITS]}_*/"):
            with FileLock(lock_of(graph)):
                shutil.rmtree(graph, ignore_errors=True)


def graph_folder(base: BaseModel, data_directory: Path) -> Path:
    """Return where the graphs of this base, recipe and release of OpenVINO are."""
    return data_directory / GRAPHS / f"{base.revision}-{RECIPE}-{version('openvino-genai')}"


@dataclass(frozen=True)
class PipelineOptions:
    base: BaseModel
    folder: Path
    adapter: AdapterRef | None
    batch_size: int
    """Most answers that are generated at once."""
    cached_tokens: int
    """Of prompts and answers whose keys and values are kept."""
    threads: int
    dtype: str
    """Of activations: bfloat16 or float32."""
    kept_graphs: int
    """Graphs that stay on disk, the last used ones."""

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> PipelineOptions:
        values = json.loads(text)
        base = {**values["base"], "path": Path(values["base"]["path"])}
        adapter = values["adapter"] and {**values["adapter"], "path": Path(values["adapter"]["path"])}
        return cls(
            **{
                **values,
                "base": BaseModel(**base),
                "folder": Path(values["folder"]),
                "adapter": AdapterRef(**adapter) if adapter else None,
            }
        )
