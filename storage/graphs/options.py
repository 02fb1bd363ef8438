"""Where graphs are and how they are loaded. Imports no model library: the bot's own process uses this."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from storage.adapters import AdapterRef
from storage.base_model import BaseModel

RECIPE = "int8-64-2"
"""Names how graphs are made; another recipe makes them anew."""


def graph_folder(base: BaseModel, data_directory: Path) -> Path:
    """Return where the graphs of this base, recipe and release of OpenVINO are."""
    return data_directory / "engine" / f"{base.revision}-{RECIPE}-{version('openvino-genai')}"


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
