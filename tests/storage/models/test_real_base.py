"""What the comparison of graphs with transformers notices, on weights that somebody trained.

REACTUNE_REAL_BASE names the folder of a base: `REACTUNE_REAL_BASE=… python -m pytest -m bench` runs this file too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from openvino import opset13 as op

from storage.adapters.folder_store import AdapterRef
from storage.models.openvino import comparison
from storage.models.openvino.graph import _Graph, _ints
from storage.models.openvino.graph_cache import MODEL_FILE
from storage.models.openvino.pipeline import load_plain_tokenizer
from storage.models.openvino.recipes import W8A16, Measurement
from storage.models.openvino.weights import LowRank, Weights

pytestmark = [
    pytest.mark.bench,
    pytest.mark.skipif("REACTUNE_REAL_BASE" not in os.environ, reason="REACTUNE_REAL_BASE names no folder of a base"),
]
LAYER = re.compile(r"layers\.(\d+)\.")

Break = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture(scope="module")
def measure(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Measurement]:
    """Return a function that builds the graphs and measures how far they are from transformers."""
    base, workshop = Path(os.environ["REACTUNE_REAL_BASE"]), tmp_path_factory.mktemp("graphs")
    tokenizer = load_plain_tokenizer(base)
    texts = [tokenizer.encode(text, add_special_tokens=False).ids for text in comparison.TEXTS]
    adapter = AdapterRef("verification", workshop / "adapter")
    theirs = comparison._transformers_logits(base, adapter.path, texts)
    ours = comparison._Ours(base, "bfloat16", workshop / MODEL_FILE, texts, theirs, adapter, texts[0])
    return lambda: ours.measure([W8A16])[0]


def test_a_right_graph_is_close_with_and_without_an_adapter(measure: Callable[[], Measurement]) -> None:
    found = measure()
    print(f"\nright: {found}")
    assert max(found.base, found.adapter) < comparison.MAX_FAULT / 2


def changing(change: Callable[[Weights, str, LowRank], LowRank | None]) -> Break:
    """Break what the graph makes of the adapter's change of a layer."""

    def break_it(monkeypatch: pytest.MonkeyPatch) -> None:
        right = Weights.change

        def wrong(self: Weights, layer: str) -> LowRank | None:
            found = right(self, layer)
            return found and change(self, layer, found)

        monkeypatch.setattr(Weights, "change", wrong)

    return break_it


def of_the_layer_below(monkeypatch: pytest.MonkeyPatch) -> None:
    right, below = Weights.change, dict[str, LowRank | None]()

    def wrong(self: Weights, layer: str) -> LowRank | None:
        kind = LAYER.sub("", layer)
        found, below[kind] = below.get(kind), right(self, layer)
        return found or below[kind]

    monkeypatch.setattr(Weights, "change", wrong)


def of_every_second_layer(_weights: Weights, layer: str, change: LowRank) -> LowRank | None:
    return change if int(LAYER.search(layer)[1]) % 2 else None  # type: ignore[index]


def without_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Graph, "_rotated", lambda _self, heads, _layer: heads)


def with_even_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    """As bfloat16 rounds positions beyond 256."""
    right = _Graph._angles_of

    def wrong(self: _Graph, rotary: Any) -> Any:
        exact = self._position_ids
        self._position_ids = op.multiply(op.divide(exact, _ints(2)), _ints(2))
        angles = right(self, rotary)
        self._position_ids = exact
        return angles

    monkeypatch.setattr(_Graph, "_angles_of", wrong)


def with_the_layers_below(monkeypatch: pytest.MonkeyPatch) -> None:
    """One projection of one layer has the weights of the layer below."""
    right = Weights.blocks

    def wrong(self: Weights, layer: str, change: LowRank | None) -> Any:
        number = LAYER.search(layer)
        if number and layer.endswith("up_proj") and int(number[1]) == 7:
            layer = layer.replace(".7.", ".6.")
        return right(self, layer, change)

    monkeypatch.setattr(Weights, "blocks", wrong)


def with_a_negative_projection(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Weights.blocks

    def wrong(self: Weights, layer: str, change: LowRank | None) -> Any:
        sign = -1 if layer.endswith("layers.7.mlp.down_proj") else 1
        return (sign * block for block in right(self, layer, change))

    monkeypatch.setattr(Weights, "blocks", wrong)


@pytest.mark.parametrize(
    "break_it",
    [
        pytest.param(changing(lambda _w, _l, change: replace(change, up=-change.up)), id="adapter: wrong sign"),
        pytest.param(changing(lambda _w, _l, change: replace(change, up=2 * change.up)), id="adapter: twice the scale"),
        pytest.param(changing(lambda _w, _l, change: replace(change, up=0 * change.up)), id="adapter: ignored"),
        pytest.param(changing(of_every_second_layer), id="adapter: every second layer ignored"),
        pytest.param(of_the_layer_below, id="adapter: one layer too high"),
    ],
)
def test_a_wrong_adapter_is_noticed(
    measure: Callable[[], Measurement], monkeypatch: pytest.MonkeyPatch, break_it: Break
) -> None:
    break_it(monkeypatch)
    found = measure()
    print(f"\n{found}")
    assert found.base < comparison.MAX_FAULT < found.adapter  # a tenth of what the adapter changes


@pytest.mark.parametrize(
    "break_it", [without_positions, with_even_positions, with_the_layers_below, with_a_negative_projection]
)
def test_a_wrong_base_is_noticed(
    measure: Callable[[], Measurement], monkeypatch: pytest.MonkeyPatch, break_it: Break
) -> None:
    break_it(monkeypatch)
    found = measure()
    print(f"\n{found}")
    assert found.base > comparison.MAX_FAULT
