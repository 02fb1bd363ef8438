"""Reads settings from config.toml, reactune.toml, .env and the environment; later sources win.

config.toml comes with the program and shows what people change; reactune.toml holds an operator's own values, and Git
ignores it, so that an update never meets them. Secrets never come from either.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic import ValidationError

from storage.errors import SettingsError
from storage.settings.gone import GONE
from storage.settings.sections import (
    CLIENT_SECRET_VARIABLE,
    FOR_TESTS,
    SECRET_VARIABLES,
    TOKEN_VARIABLE,
    Settings,
    TrainingSettings,
    sections,
)
from storage.wording import mistake

SHIPPED_FILE = Path("config.toml")
OWN_FILE = Path("reactune.toml")
"""The operator's own settings, which commands write, unless `--config` names another file."""
NO_OVERRIDES: Mapping[str, str] = MappingProxyType({})
ENV_PREFIX = "REACTUNE_"
ENV_SEPARATOR = "__"
TOKEN_NAMES = ("token", "discord_token", "discord.token", "discord.discord_token")
CLIENT_SECRET_NAMES = ("client_secret", "discord_client_secret", "console.client_secret", "discord.client_secret")
MISPLACED = {
    **dict.fromkeys(TOKEN_NAMES, f"set the bot's token as {TOKEN_VARIABLE}"),
    **{
        name: f"set the server's key as {SECRET_VARIABLES[f'{server}_api_key']}"
        for server in ("remote", "pictures", "voice")
        for name in (f"{server}_api_key", f"{server}.api_key", f"{server}.key")
    },
    **dict.fromkeys(CLIENT_SECRET_NAMES, f"set the OAuth2 client secret as {CLIENT_SECRET_VARIABLE}"),
}
CLOSE = 0.7
"""Minimum difflib similarity for a "did you mean" suggestion."""
LINE = re.compile(r"\s*(?:\[\s*(?P<table>[\w.-]+)\s*\]|(?P<key>[\w-]+(?:\s*\.\s*[\w-]+)*)\s*=)")
TWICE = re.compile(r"Cannot (?:declare|overwrite|mutate).*\(at (?:line (\d+)|end of document)")

SettingPlaces = dict[tuple[str, str], str]
"""The place of each setting that is not left at its default: "reactune.toml, line 3", or the name of a variable."""


def load_settings(
    path: Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] = NO_OVERRIDES,
) -> Settings:
    """Read the settings files, .env, the environment and `overrides`; each overrides those before it.

    The files are `path` alone, or else config.toml and reactune.toml. With an `environment`, only that and `path` are
    read, nothing that happens to be in this folder. Raises SettingsError with one sentence that names the file and
    line, or the variable, and the remedy.
    """
    if environment is None:
        files, environment = _files(path), _environment()
    else:
        files = [path] if path else []
    environment = {**environment, **overrides}
    table, places = _read_files(files, required=path is not None)
    for variable, section, key in _variables(environment):
        table.setdefault(section, {})[key] = environment[variable]
        places[section, key] = variable
    secrets = {name: environment.get(variable) or None for name, variable in SECRET_VARIABLES.items()}
    try:
        settings = Settings.model_validate(table | secrets)
    except ValidationError as error:
        raise SettingsError(_sentence(error, places)) from error
    for conflict in _conflicts(settings):
        raise SettingsError(conflict)
    return settings


def find_places(path: Path | None) -> SettingPlaces:
    """Return the places of the settings that `load_settings(path)` finds."""
    _, places = _read_files(_files(path), required=path is not None)
    return places | {(section, key): variable for variable, section, key in _variables(_environment())}


def variable_name(section: str, key: str) -> str:
    return f"{ENV_PREFIX}{section}{ENV_SEPARATOR}{key}".upper()


def overriding_place(section: str, key: str) -> str | None:
    """Return the place of a variable that overrides the files, "the environment" or ".env"; None if there is none."""
    variable = variable_name(section, key)
    if variable in os.environ:
        return "the environment"
    return ".env" if variable in _environment() else None


def _environment() -> dict[str, str]:
    """Return the variables of the environment, and of .env those that it lacks."""
    return _read_dotenv(Path(".env")) | os.environ


def _read_dotenv(path: Path) -> dict[str, str]:
    try:
        _require_whole_lines(path)
        return {key: value for key, value in dotenv_values(path).items() if value is not None}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read ({error}): rewrite it as UTF-8 text (.env.example)") from error


def _require_whole_lines(path: Path) -> None:
    """Raise SettingsError on lines that dotenv would silently skip."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as stream:
        for binding in parse_stream(stream):
            if binding.error or (binding.key and binding.value is None):
                raise SettingsError(f"{path}, line {binding.original.line}: write NAME=value, and close any quotes")


def _files(path: Path | None) -> list[Path]:
    return [path] if path else [SHIPPED_FILE, OWN_FILE]


def _read_files(files: Sequence[Path], *, required: bool) -> tuple[dict[str, dict[str, Any]], SettingPlaces]:
    """Return the tables of all files, in which later files win, and the places of their settings."""
    merged: dict[str, dict[str, Any]] = {}
    places: SettingPlaces = {}
    for file in files:
        text = _read(file, required=required)
        lines, table = _lines(text), _parse(text, file)
        _refuse_several_gone(table, file)
        _require_known(table, file, lines)
        for section, values in table.items():
            merged.setdefault(section, {}).update(values)
            places |= {(section, key): _place(file, lines, f"{section}.{key}") for key in values}
    return merged, places


def _read(path: Path, *, required: bool) -> str:
    if not path.exists():
        if required:
            raise SettingsError(f"the settings file {path} does not exist: check --config, or omit it")
        return ""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from error
    except OSError as error:
        # A container that mounts a missing file gets a folder instead.
        raise SettingsError(f"{path} cannot be read ({error.strerror}): it must be a readable file") from error


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: not TOML, or a number of 5,000 digits
        if twice := TWICE.match(str(error)):
            line = twice[1] or len(text.splitlines())
            raise SettingsError(
                f"{path}, line {line}: this setting or [section] is there already, further up: keep one of them"
            ) from error
        raise SettingsError(f"{path} is not valid TOML: {error}") from error


def _lines(text: str) -> dict[str, int]:
    """Return the line of each section and setting, by its name such as "model.base", as far as a glance finds it."""
    found: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if not (named := LINE.match(line)):
            continue
        if named["table"]:
            name = table = named["table"]
        else:
            name = ".".join(filter(None, [table, re.sub(r"\s", "", named["key"])]))
        for known in (name.split(".")[0], ".".join(name.split(".")[:2])):
            found.setdefault(known, number)
    return found


def _place(file: Path, lines: Mapping[str, int], name: str) -> str:
    return f"{file}, line {lines[name]}" if name in lines else str(file)


def _refuse_several_gone(table: Mapping[str, Any], file: Path) -> None:
    """Raise SettingsError with all settings of a file that are gone, if there are several: an old copy has dozens."""
    gone = [
        name
        for section, values in table.items()
        if isinstance(values, dict)
        for name in (f"{section}.{key}" for key in values)
        if name in GONE
    ]
    if len(gone) > 1:
        what = "; ".join(f"{name}: {GONE[name]}" for name in gone)
        raise SettingsError(f"{file}: {len(gone)} of its settings are gone. {what}")


def _require_known(table: Mapping[str, Any], file: Path, lines: Mapping[str, int]) -> None:
    """Raise SettingsError on an unknown section or setting of a file."""
    known = sections()
    known_names = [f"{s}.{k}" for s, cls in known.items() for k in cls.model_fields if f"{s}.{k}" not in FOR_TESTS]
    for section, values in table.items():
        place = _place(file, lines, section)
        if section not in known:
            close = get_close_matches(section, known, n=1, cutoff=CLOSE)
            raise SettingsError(f"{place}: [{section}] is not a section{_advice(section, close, known)}")
        if not isinstance(values, dict):
            raise SettingsError(f"{place}: {section} must be a table: write [{section}] above its settings")
        for key, value in values.items():
            if (name := f"{section}.{key}") not in known_names:
                meant = [".".join(one) for one in _meant(section, key)]
                others = [other for other in known_names if other.startswith(f"{section}.")]
                place = _place(file, lines, name)
                if key in known and isinstance(value, dict):
                    whole = f"{key}.{next(iter(value), '')}"
                    raise SettingsError(f"{place}: {whole} belongs above the first [section]: move it there")
                raise SettingsError(f"{place}: {name} is not a setting{_advice(name, meant, others)}")


def _variables(environment: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield (variable, section, key) of every REACTUNE_… variable; raise SettingsError on an unknown one."""
    known = {variable_name(s, k): (s, k) for s, cls in sections().items() for k in cls.model_fields}
    for variable in sorted(name for name in environment if name.startswith(ENV_PREFIX)):
        if variable not in known:
            section, _, key = variable.removeprefix(ENV_PREFIX).lower().partition(ENV_SEPARATOR)
            with_one_underscore = [name for name in known if name.replace(ENV_SEPARATOR, "_") == variable]
            meant = with_one_underscore or [variable_name(*one) for one in _meant(section, key)]
            advice = _advice(f"{section}.{key}".rstrip("."), meant)
            raise SettingsError(f"the environment variable {variable} is not a setting{advice}")
        yield variable, *known[variable]


def _meant(section: str, key: str) -> list[tuple[str, str]]:
    """Return the settings that an unknown name may mean: the same key in other sections, or a similar name.

    Section and key are compared separately, because a long section name would make all of its keys look similar.
    """
    known = sections()
    if elsewhere := [(name, key) for name, cls in known.items() if key in cls.model_fields and section in known]:
        return elsewhere
    return [
        (name, close)
        for name in get_close_matches(section, known, n=1, cutoff=CLOSE)
        for close in get_close_matches(key, known[name].model_fields, n=1, cutoff=CLOSE)
    ]


def _advice(name: str, meant: Sequence[str], others: Collection[str] = ()) -> str:
    if name in GONE:
        return f" any more: {GONE[name]}"
    if name in MISPLACED:
        return f": {MISPLACED[name]}, in the environment or in .env"
    if meant:
        return f": did you mean {' or '.join(meant)}?"
    return f": it must be one of {', '.join(others)}" if others else ": see docs/settings.md"


def _sentence(error: ValidationError, places: SettingPlaces) -> str:
    first = error.errors()[0]
    section, name = (str(part) for part in first["loc"][:2])
    secret = not sections()[section].model_fields[name].repr
    value = "(hidden)" if secret else repr(first["input"])
    what_is_wrong = mistake(first["type"], first["msg"])
    return f"{places[section, name]}: {section}.{name} = {value} is not valid: {what_is_wrong}"


def _conflicts(settings: Settings) -> Iterator[str]:
    """Yield a sentence for each combination of settings that cannot work."""
    shards, shard_count = settings.discord.shards, settings.discord.shard_count
    if shards and max(shards) >= shard_count:
        yield (
            f"discord.shards contains {max(shards)}, but discord.shard_count = {shard_count}: shards are numbered "
            "from 0, so set discord.shard_count to the total number of shards"
        )
    yield from _training_conflicts(settings.training)
    if settings.model.engine == "remote" and not settings.remote.url:
        yield 'model.engine = "remote" needs a server: set remote.url to its address (docs/remote.md)'
    if settings.model.engine == "openvino" and settings.model.quantization:
        yield (
            f'model.quantization = "{settings.model.quantization}" is for transformers; OpenVINO rounds weights in its '
            'own way: set model.engine = "transformers", or model.quantization = ""'
        )
    max_new_tokens, context_tokens = settings.generation.max_new_tokens, settings.model.context_tokens
    if max_new_tokens >= context_tokens:
        yield (
            f"generation.max_new_tokens = {max_new_tokens} leaves no room for a prompt: "
            f"it must be less than model.context_tokens = {context_tokens}"
        )


def _training_conflicts(training: TrainingSettings) -> Iterator[str]:
    if training.batch_size % training.processes:
        yield (
            f"training.batch_size = {training.batch_size} is not a multiple of training.processes = "
            f"{training.processes}: each process needs the same number of pairs"
        )
