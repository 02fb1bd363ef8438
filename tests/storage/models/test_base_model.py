import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import gguf
import pytest

from storage.errors import BaseModelError
from storage.models.base_model import load_model, load_tokenizer, resolve_base_model, window_of
from storage.models.base_offer import examine_base
from storage.models.conversion import run_steps
from storage.settings.sections import ModelSettings, Settings
from tests.tiny_model import build_tiny_base, change_json


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return build_tiny_base(tmp_path / "tiny")


def test_local_folder_becomes_a_base_with_its_architecture(folder, tmp_path):
    base = resolve_base_model(str(folder), tmp_path / "data")
    assert (base.name, base.path, base.architecture) == ("tiny", folder, "LlamaForCausalLM")
    assert len(base.revision) == 16


def test_revision_follows_the_content_and_not_the_place(folder, tmp_path):
    copy = build_tiny_base(tmp_path / "copy")
    assert (
        resolve_base_model(str(folder), tmp_path / "a").revision
        == resolve_base_model(str(copy), tmp_path / "b").revision
    )


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "chat_template.jinja"])
def test_revision_changes_with_each_part(folder, tmp_path, name):
    before = resolve_base_model(str(folder), tmp_path / "data").revision
    with (folder / name).open("a") as file:
        file.write(" ")
    assert resolve_base_model(str(folder), tmp_path / "data").revision != before


def test_revision_changes_with_a_single_weight(folder, tmp_path):
    before = resolve_base_model(str(folder), tmp_path / "data").revision
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    assert resolve_base_model(str(folder), tmp_path / "data").revision != before


def test_revision_is_remembered_for_unchanged_files(folder, tmp_path):
    first = resolve_base_model(str(folder), tmp_path / "data")
    (remembered,) = (tmp_path / "data" / "base" / "revisions").iterdir()
    remembered.write_text("f" * 16)
    assert resolve_base_model(str(folder), tmp_path / "data").revision == "f" * 16 != first.revision


def refusal(folder: Path, tmp_path: Path) -> str:
    """Return what is wrong with the folder, which is said before the question whether to use it and at the start."""
    with pytest.raises(BaseModelError) as offered:
        examine_base(str(folder), Settings())
    with pytest.raises(BaseModelError) as used:
        resolve_base_model(str(folder), tmp_path / "data")
    assert str(offered.value) == str(used.value)
    return str(used.value)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("config.json", "config.json is missing"),
        ("model.safetensors", "no safetensors"),
        ("tokenizer.json", "no tokenizer"),
        ("chat_template.jinja", "no chat template"),
    ],
)
def test_incomplete_folder_is_refused_with_what_is_missing(folder, tmp_path, name, sentence):
    (folder / name).unlink()
    assert sentence in refusal(folder, tmp_path)


def test_a_tokenizer_that_no_engine_can_read_is_refused_with_where_to_find_the_way(folder, tmp_path):
    (folder / "tokenizer.json").rename(folder / "tokenizer.model")
    said = "no tokenizer.json, only tokenizer.model: convert its tokenizer first (docs/models.md)"
    assert said in refusal(folder, tmp_path)


def test_pickled_weights_do_not_count(folder, tmp_path):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    said = refusal(folder, tmp_path)
    assert "no safetensors weights, only pytorch_model.bin, a pickle, " in said
    assert ": convert the model to safetensors first" in said


@pytest.mark.parametrize("size", [0, 5, 2000, -1])
def test_a_file_of_the_weights_that_was_cut_off_is_found_before_it_is_loaded(folder, tmp_path, size):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:size])
    said = refusal(folder, tmp_path)
    assert "model.safetensors is cut off or damaged " in said
    assert said.endswith(": copy it again")


def test_a_missing_shard_is_named_with_the_command_that_gets_it(tmp_path):
    folder = build_tiny_base(tmp_path / "models--owner--tiny" / "snapshots" / "0f3a")
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    (folder / "model.safetensors").rename(folder / first)
    index = {"weight_map": {"model.norm.weight": first, "model.embed_tokens.weight": second}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert f"{second} is missing: run `hf download owner/tiny {second} --force-" in refusal(folder, tmp_path)


def test_mistrals_second_copy_of_the_weights_is_not_read(folder, tmp_path):
    before = resolve_base_model(str(folder), tmp_path / "data").revision
    (folder / "consolidated.safetensors").write_bytes(b"the same weights under other names")
    assert resolve_base_model(str(folder), tmp_path / "data").revision == before


@pytest.mark.parametrize(
    ("written", "method"),
    [
        *(({"quant_method": method}, method) for method in ("awq", "gptq", "fp8", "mxfp4", "bitsandbytes")),
        ("awq", "awq"),
        ({}, "an unnamed method"),
    ],
)
def test_weights_that_are_quantised_already_resolve_for_a_server_and_are_not_loaded(folder, tmp_path, written, method):
    change_json(folder / "config.json", quantization_config=written)
    base = resolve_base_model(str(folder), tmp_path / "data")
    said = rf'quantised already \({method}\), which only a remote server can serve \(model.engine = "remote"\)'
    with pytest.raises(BaseModelError, match=said):
        load_model(base, "float32")


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_broken_config_is_refused(folder, tmp_path, content):
    (folder / "config.json").write_text(content)
    with pytest.raises(BaseModelError, match=r"config\.json"):
        resolve_base_model(str(folder), tmp_path / "data")


def test_chat_template_inside_the_tokenizer_config_counts(folder, tmp_path):
    (folder / "chat_template.jinja").unlink()
    change_json(folder / "tokenizer_config.json", chat_template="{{ messages }}")
    assert resolve_base_model(str(folder), tmp_path / "data").path == folder


def test_a_name_that_is_neither_folder_nor_hub_id_is_refused(tmp_path):
    with pytest.raises(BaseModelError, match="is not a folder"):
        resolve_base_model(str(tmp_path / "nowhere"), tmp_path / "data")


def test_model_missing_on_the_hub_is_refused_with_a_remedy(tmp_path):
    said = []
    with pytest.raises(BaseModelError, match=r"download it on another machine and set model\.base"):
        resolve_base_model("reactune-tests/does-not-exist", tmp_path / "data", said.append)
    assert "from the hub" in said[0]


def test_loaded_model_and_tokenizer_work_together(folder, tmp_path):
    base = resolve_base_model(str(folder), tmp_path / "data")
    tokenizer, model = load_tokenizer(base.path), load_model(base, "float32")
    logits = model(**tokenizer("Hi", return_tensors="pt", return_token_type_ids=False)).logits
    assert logits.shape[-1] == len(tokenizer)


def test_killed_conversion_resumes_after_the_last_finished_step(tmp_path):
    runs = []

    def tokenizer(model: Path) -> None:
        runs.append("tokenizer")
        (model / "tokenizer.json").write_text("{}")

    def killed(model: Path) -> None:
        (model / "model.safetensors").write_text("half")
        raise KeyboardInterrupt

    def weights(model: Path) -> None:
        runs.append("weights")
        (model / "model.safetensors").write_text("whole")

    target = tmp_path / "base"
    with pytest.raises(KeyboardInterrupt):
        run_steps({"tokenizer": tokenizer, "weights": killed}, target, print)
    assert not target.exists()
    run_steps({"tokenizer": tokenizer, "weights": weights}, target, print)
    assert runs == ["tokenizer", "weights"]
    assert sorted(path.name for path in target.iterdir()) == ["model.safetensors", "tokenizer.json"]
    assert (target / "model.safetensors").read_text() == "whole"
    assert [*tmp_path.glob("*/")] == [target]


def test_conversion_on_a_full_disk_says_what_to_do(tmp_path):
    def refuse(model: Path) -> None:
        (model / "model.safetensors").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(BaseModelError, match=r"No space left.*free 600 MB"):
        run_steps({"tokenizer": refuse}, tmp_path / "base", print)
    assert not [*tmp_path.glob("*/")], "what is half would keep the disk full"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_no_question_of_permissions(folder, tmp_path, monkeypatch, number):
    def refuse(*_args, **_more):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(BaseModelError, match=r"the disk of .*data is full.*: delete files") as said:
        resolve_base_model(str(folder), tmp_path / "data")
    assert "readable" not in str(said.value)


CONVERT = """
import sys
from pathlib import Path
from storage.models.base_model import resolve_base_model
print(resolve_base_model("bundled", Path(sys.argv[1]), lambda sentence: print(sentence, flush=True)).path)
"""


def test_a_conversion_parses_its_file_once(tmp_path, monkeypatch):
    parsed: list[str] = []

    class Reader:
        def __init__(self, path: str) -> None:
            parsed.append(path)

    monkeypatch.setattr(gguf, "GGUFReader", Reader)
    step = lambda _folder: gguf.GGUFReader("model.gguf")  # noqa: E731
    for target in ("first", "second"):
        run_steps({"tokenizer": step, "weights": step}, tmp_path / target, lambda _: None)
    assert parsed == ["model.gguf", "model.gguf"]


@pytest.mark.slow
@pytest.mark.bundled
def test_bundled_model_survives_a_kill_and_converts_once(tmp_path, capfd, bundled_base, monkeypatch):
    def link_weights(_source, folder):
        for file in bundled_base.path.iterdir():
            if not (folder / file.name).exists():  # the tokenizer's are there
                os.link(file, folder / file.name)

    first = subprocess.Popen([sys.executable, "-c", CONVERT, tmp_path], stdout=subprocess.PIPE, text=True)
    assert any("weights" in line for line in first.stdout)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()

    monkeypatch.setattr("storage.models.conversion._convert_weights", link_weights)  # converted once for all tests
    said: list[str] = []
    base = resolve_base_model("bundled", tmp_path, said.append)
    assert said == ["Converting the base model (about 10 s, once): weights"]
    assert (base.name, base.architecture) == ("SmolLM2-135M-Instruct", "LlamaForCausalLM")
    assert json.loads((base.path / "config.json").read_text())["dtype"] == "bfloat16"
    tokenizer = load_tokenizer(base.path)
    ends = json.loads((base.path / "generation_config.json").read_text())["eos_token_id"]
    assert tokenizer.convert_ids_to_tokens(ends) == tokenizer.eos_token == "<|im_end|>"
    assert "<|im_start|>user\nHi<|im_end|>" in tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False
    )

    assert resolve_base_model("bundled", tmp_path, said.append) == base
    assert len(said) == 1
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("base", ["tiny", "bundled"])
def test_a_data_folder_that_cannot_be_used_is_refused_in_a_sentence(folder, tmp_path, base):
    (tmp_path / "data").write_text("a file in its place")
    with pytest.raises(
        BaseModelError, match=r"cannot be used for the base model .*set data\.directory to another folder"
    ):
        resolve_base_model(str(folder) if base == "tiny" else base, tmp_path / "data")


@pytest.mark.threat("T66")
def test_a_model_that_needs_its_own_code_is_refused(folder, tmp_path):
    change_json(folder / "config.json", auto_map={"AutoConfig": "configuration_evil.EvilConfig"})
    assert resolve_base_model(str(folder), tmp_path / "data").architecture == "LlamaForCausalLM"
    change_json(folder / "config.json", model_type="evil")
    with pytest.raises(BaseModelError, match=r"needs custom Python code \(auto_map in config.json\)"):
        resolve_base_model(str(folder), tmp_path / "data")


def test_a_model_that_lacks_weights_is_refused_and_not_made_up(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights.pop("model.norm.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    base = resolve_base_model(str(folder), tmp_path / "data")
    with pytest.raises(BaseModelError, match=r"lacks 1 weights, such as model\.norm\.weight: copy the model again"):
        load_model(base, "float32")


@pytest.fixture
def forbid(monkeypatch):
    """Let no file or folder of a name be read; root may read what the mode forbids."""

    def forbid(name):
        def refusing(original):
            def read(path, *args, **more):
                if Path(path).name == name:
                    raise PermissionError(errno.EACCES, "Permission denied", str(path))
                return original(path, *args, **more)

            return read

        monkeypatch.setattr(Path, "open", refusing(Path.open))
        monkeypatch.setattr(os, "listdir", refusing(os.listdir))

    return forbid


@pytest.mark.parametrize("name", ["tiny", "config.json", "model.safetensors", "README.md", "LICENSE", "tokenizer.json"])
def test_what_this_user_may_not_read_is_named(folder, tmp_path, forbid, monkeypatch, name):
    (folder / "README.md").write_text("---\nlicense: other\n---\n")
    (folder / "LICENSE").write_text("Be nice to it.")

    def use():
        examine_base(str(folder), Settings())
        resolve_base_model(str(folder), tmp_path / "data")

    use()
    forbid(name)
    path = folder if name == "tiny" else folder / name
    with pytest.raises(BaseModelError) as said:
        use()
    assert str(said.value) == f"{path} cannot be read: make it readable for this user"
    monkeypatch.setattr(os, "access", lambda one, _mode: one != folder.parent)
    with pytest.raises(BaseModelError, match=f"^{folder.parent} cannot be entered: make this folder readable and"):
        use()


@pytest.mark.parametrize("name", ["max_position_embeddings", "n_positions", "max_seq_len"])
def test_no_prompt_is_longer_than_what_the_base_can_read_however_its_architecture_names_that(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({name: 1024}))
    assert window_of(tmp_path, ModelSettings(context_tokens=2048)) == 1024
    assert window_of(tmp_path, ModelSettings(context_tokens=512)) == 512
