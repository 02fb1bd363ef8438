"""`reactune models`: which bases fit which machine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from reactune.models import ANSWERS_ONLY, FITS, FOUR_BITS, QUANTISED, Candidate, Machine, candidates, list_bases, table
from storage.models.base_model import resolve_base_model
from storage.models.free_memory import FreeMemory
from storage.models.memory import MARGIN
from storage.models.openvino.recipes import W4A8, W8A8
from storage.models.shape import shape_of
from storage.settings.loading import load_settings
from storage.settings.sections import PictureSettings, Settings
from tests.seeing_model import build_seeing_base
from tests.tiny_model import build_tiny_base
from tests.verdicts import trust_graphs

GB = 10**9
LAPTOP = Machine(FreeMemory(8 * GB, 16 * GB), 100 * GB)
CARD_OF_24_GB = Machine(FreeMemory(23 * GB, 24 * GB, is_gpu=True), 500 * GB)
CARD_OF_8_GB = Machine(FreeMemory(75 * GB // 10, 8 * GB, is_gpu=True), 500 * GB)
FULL_DISK = Machine(FreeMemory(64 * GB, 64 * GB), GB // 10)


def settings(folder: Path, *, server: str = "", **model: str) -> Settings:
    given = {f"REACTUNE_MODEL__{key.upper()}": value for key, value in model.items()}
    return load_settings(
        environment={
            "REACTUNE_DATA__DIRECTORY": str(folder),
            "REACTUNE_TRAINING__DTYPE": "bfloat16",
            "REACTUNE_MODEL__DTYPE": "bfloat16",
            **({"REACTUNE_REMOTE__URL": server} if server else {}),
            **given,
        }
    )


def fits(found: list[Candidate]) -> dict[str, str]:
    return {candidate.name.rpartition("/")[2]: candidate.fits for candidate in found}


def test_a_laptop_trains_small_bases_and_only_answers_with_larger_ones(tmp_path):
    found = candidates(settings(tmp_path), LAPTOP)
    verdicts = fits(found)
    assert verdicts["SmolLM2-135M-Instruct"] == verdicts["Qwen3-0.6B"] == FITS
    assert verdicts["Qwen3-4B-Instruct-2507"] == ANSWERS_ONLY
    assert verdicts["Qwen3-8B"].startswith("no, needs 12.6 GB of memory")
    assert [candidate.name for candidate in found if candidate.configured] == ["HuggingFaceTB/SmolLM2-135M-Instruct"]


def test_what_fits_comes_first_and_the_largest_of_it_at_the_top(tmp_path):
    found = candidates(settings(tmp_path), LAPTOP)
    groups = [candidate.fits if candidate.fits in (FITS, ANSWERS_ONLY) else "no" for candidate in found]
    assert groups == sorted(groups, key=[FITS, ANSWERS_ONLY, "no"].index)
    sizes = [candidate.parameters for candidate in found if candidate.fits == FITS]
    assert sizes == sorted(sizes, reverse=True)


def test_a_card_of_24_gb_serves_and_trains_8b(tmp_path):
    verdicts = fits(candidates(settings(tmp_path, engine="transformers"), CARD_OF_24_GB))
    assert verdicts["Qwen3-4B-Instruct-2507"] == verdicts["Llama-3.1-8B-Instruct"] == FITS
    assert verdicts["Mistral-Small-3.2-24B-Instruct-2506"].startswith("no, needs")
    assert verdicts["Mistral-Small-3.2-24B-Instruct-2506"].endswith("of GPU memory")


def test_bases_that_see_are_marked(tmp_path):
    sees = {candidate.name: candidate.sees for candidate in candidates(settings(tmp_path), LAPTOP)}
    assert sees["google/gemma-3-4b-it"]
    assert not sees["google/gemma-3-1b-it"]
    own = settings(tmp_path, base=str(build_seeing_base(tmp_path / "seeing")))
    (mine,) = (candidate for candidate in candidates(own, LAPTOP) if candidate.configured)
    assert mine.sees


def test_what_a_base_sees_with_takes_memory_where_transformers_answers(tmp_path):
    base = build_seeing_base(tmp_path / "seeing")
    looks = settings(tmp_path, base=str(base), engine="transformers")
    asks = looks.model_copy(update={"pictures": PictureSettings(url="http://127.0.0.1:9")})
    serve = [next(one.serve for one in candidates(own, LAPTOP) if one.configured) for own in (looks, asks)]
    assert serve[0] - serve[1] == pytest.approx(MARGIN * 2 * shape_of(base).senses, abs=1)


def test_a_full_disk_is_named(tmp_path):
    assert fits(candidates(settings(tmp_path), FULL_DISK))["Qwen3-0.6B"] == "no, needs 1.8 GB of disk"


def test_servers_elsewhere_need_no_memory_here(tmp_path):
    found = candidates(settings(tmp_path, engine="remote", server="http://gpu:8000"), CARD_OF_8_GB)
    assert {candidate.serve for candidate in found} == {0}
    assert fits(found)["Qwen3-1.7B"] == FITS
    assert fits(found)["Qwen3-4B-Instruct-2507"] == FOUR_BITS


def test_openvino_is_named_only_for_bases_that_it_serves(tmp_path):
    served = {one.name: one for one in candidates(settings(tmp_path, engine="openvino"), LAPTOP)}
    assert served["Qwen/Qwen3.5-2B"].serve_format == "8 bits"
    assert served["Qwen/Qwen3.5-2B"].engines == ("OpenVINO",)
    inner_type = served["mistralai/Ministral-3-3B-Instruct-2512-BF16"]
    assert (inner_type.serve_format, "OpenVINO" in inner_type.engines) == ("bfloat16", False)


def test_another_bases_comparison_is_not_told_as_that_of_the_base_that_is_set(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("REACTUNE_MODEL__ENGINE", "openvino")
    monkeypatch.setenv("REACTUNE_DATA__DIRECTORY", str(tmp_path))
    mine, other = (build_tiny_base(tmp_path / name) for name in ("mine", "other"))
    monkeypatch.setenv("REACTUNE_MODEL__BASE", str(mine))
    own = load_settings()

    def told() -> str:
        list_bases()
        return capsys.readouterr().out

    trust_graphs(replace(resolve_base_model(str(other), tmp_path), revision="other"), tmp_path, own.model, W4A8)
    assert "answers with" not in told()
    trust_graphs(resolve_base_model(str(mine), tmp_path), tmp_path, own.model, W8A8)
    assert f"{mine} answers with 8-bit weights and activations." in told()


def test_the_base_that_is_set_is_measured_from_its_files(tmp_path):
    config = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 16}
    (tmp_path / "config.json").write_text(json.dumps(config | {"intermediate_size": 16}))
    save_file({"some": np.zeros((3, 5)), "others": np.zeros(7)}, tmp_path / "model.safetensors")
    own = next(one for one in candidates(settings(tmp_path, base=str(tmp_path)), LAPTOP) if one.configured)
    assert own.parameters == 22
    assert f"{tmp_path} *" in table([own])


def test_a_base_that_is_set_and_unknown_is_left_out_without_a_download(tmp_path):
    found = candidates(settings(tmp_path, base="somebody/unknown"), LAPTOP)
    assert not any(candidate.configured for candidate in found)


def test_weights_that_are_quantised_already_do_not_fit(tmp_path):
    folder = build_tiny_base(tmp_path / "awq")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "awq"}}))
    (own,) = (one for one in candidates(settings(tmp_path, base=str(folder)), LAPTOP) if one.configured)
    assert own.fits == QUANTISED


def test_files_that_cannot_be_measured_are_named_and_the_others_listed(tmp_path, caplog):
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "config.json").write_text('{"architectures": ["OddForCausalLM"], "num_hidden_layers": 2}')
    found = candidates(settings(tmp_path, base=str(folder)), LAPTOP)
    assert len(found) > 1
    assert not any(candidate.configured for candidate in found)
    assert f"that {folder} needs cannot be computed from its files: config.json lacks 'hidden_size'" in caplog.text


def test_a_base_whose_weights_were_cut_off_is_not_said_to_fit(tmp_path, caplog):
    config = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 16}
    (tmp_path / "config.json").write_text(json.dumps(config | {"intermediate_size": 16}))
    weights = tmp_path / "model.safetensors"
    save_file({"some": np.zeros((3, 5))}, weights)
    weights.write_bytes(weights.read_bytes()[:-1])
    found = candidates(settings(tmp_path, base=str(tmp_path)), LAPTOP)
    assert not any(candidate.configured for candidate in found)
    assert "model.safetensors is cut off: copy it again" in caplog.text
