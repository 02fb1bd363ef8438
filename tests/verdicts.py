"""Tests of what graphs say need not compare them with transformers first: tests/bot/engine/test_openvino.py does."""

from __future__ import annotations

from pathlib import Path

from storage.models.base_model import BaseModel
from storage.models.hardware import serving_format
from storage.models.openvino.graph_cache import graph_folder, verdict_file
from storage.models.openvino.recipes import W8A16, GraphRecipe, GraphVerdict, write_verdict
from storage.settings.sections import ModelSettings


def trust_graphs(base: BaseModel, data_directory: Path, settings: ModelSettings, recipe: GraphRecipe = W8A16) -> None:
    """Write the verdict that the comparison, which takes ten seconds, would come to."""
    folder = graph_folder(base, data_directory)
    folder.mkdir(parents=True, exist_ok=True)
    write_verdict(verdict_file(folder, serving_format(settings)), GraphVerdict(recipe=recipe.name))
