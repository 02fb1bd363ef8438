"""Settings: read from file and environment, rejected with one sentence, and documented as they are."""

from __future__ import annotations

import json
import os
import re
import tomllib
import traceback
from pathlib import Path

import pytest

from reactune.settings import describe_settings
from storage.errors import SettingsError
from storage.runtime.redaction import secrets_of
from storage.settings.gone import GONE
from storage.settings.loading import find_places, load_settings, variable_name
from storage.settings.sections import FOR_TESTS, ChatSettings, DatabaseSettings, Settings, sections

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "settings.md"
WRITES = "WRITE_REFERENCES"
"""The variable of the environment with which the test writes the tables of the page."""
TOKEN = "MTk4NjIyNDgzNDcxOTI1MjQ4.secret.part"
PASSWORD_URL = "postgresql+psycopg://reactune:hunter2@db/reactune"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def refusal(config: Path, text: str = "", **environment: str) -> str:
    """Return the error that rejects these settings, without the line of the file."""
    config.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as refused:
        load_settings(config, environment)
    sentence = str(refused.value)
    assert "\n" not in sentence
    return re.sub(r"config\.toml, line \d+: ", "config.toml: ", sentence)


# Where settings come from


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, without a settings file; no variable sets anything."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("REACTUNE_")]:
        monkeypatch.delenv(name)
    return tmp_path


def test_no_file_means_defaults(folder: Path) -> None:
    assert load_settings() == load_settings(environment={}) == Settings()


def test_own_file_overrides_config_toml_setting_by_setting_and_variables_override_both(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("config.toml").write_text("[chat]\ncooldown_s = 7\ndrain_s = 8\nquiet_hours = '22:00-07:00'\n")
    Path("reactune.toml").write_text("# mine\nchat.cooldown_s = 9\nchat.drain_s = 10\nmodel.threads = 2\n")
    monkeypatch.setenv("REACTUNE_CHAT__DRAIN_S", "11")
    settings = load_settings()
    assert (settings.chat.cooldown_s, settings.chat.drain_s, settings.chat.quiet_hours) == (9, 11, "22:00-07:00")
    assert find_places(None) == {
        ("chat", "cooldown_s"): "reactune.toml, line 2",
        ("chat", "drain_s"): "REACTUNE_CHAT__DRAIN_S",
        ("chat", "quiet_hours"): "config.toml, line 4",
        ("model", "threads"): "reactune.toml, line 4",
    }


def test_a_file_that_is_named_stands_alone(folder: Path) -> None:
    Path("config.toml").write_text("chat.cooldown_s = 7\n")
    Path("reactune.toml").write_text("chat.drain_s = 8\n")
    Path("other.toml").write_text("chat.cooldown_s = 9\n")
    settings = load_settings(Path("other.toml"))
    assert settings == Settings(chat=ChatSettings(cooldown_s=9))


def test_what_happens_to_be_in_the_folder_does_not_count_beside_a_given_environment(folder: Path) -> None:
    Path("reactune.toml").write_text("chat.drain_s = 8\n")
    assert load_settings(environment={}) == Settings()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("chat.drain_s = = 1", "reactune.toml is not valid TOML: Invalid value (at line 1, "),
        (
            "chat.drain_s = 1\n[chat]\ncooldown_s = 2",
            "reactune.toml, line 2: this setting or [section] is there already, further up: keep one of them",
        ),
        (
            "[chat]\ndrain_s = 1\n\ndrain_s = 2",
            "reactune.toml, line 4: this setting or [section] is there already, further up: keep one of them",
        ),
        (
            "[access]\nservers = []\nchat.drain_s = 1",
            "reactune.toml, line 3: chat.drain_s belongs above the first [section]: move it there",
        ),
        ("\n\n[chat]\ndrain_s = 'long'", "reactune.toml, line 4: chat.drain_s = 'long' is not valid: "),
        ("# a\nchat.drain = 1", "reactune.toml, line 2: chat.drain is not a setting: did you mean chat.drain_s?"),
        ("modl.base = 'x'", "reactune.toml, line 1: [modl] is not a section: did you mean model?"),
    ],
)
def test_a_mistake_in_the_own_file_is_named_with_its_line(folder: Path, text: str, sentence: str) -> None:
    Path("config.toml").write_text("chat.drain_s = 3")
    Path("reactune.toml").write_text(text)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert str(refused.value).startswith(sentence)


def test_dotenv_is_read_and_the_environment_wins_over_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text(f"DISCORD_TOKEN={TOKEN}\nREACTUNE_MODEL__THREADS=3\nREACTUNE_TRAINING__SEED=4\n")
    monkeypatch.delenv("DISCORD_TOKEN", raising=False)
    monkeypatch.setenv("REACTUNE_TRAINING__SEED", "5")
    settings = load_settings()
    assert settings.discord_token.get_secret_value() == TOKEN
    assert (settings.model.threads, settings.training.seed) == (3, 5)


@pytest.mark.parametrize(
    "line", ["REACTUNE_MODEL__THREADS: 3", 'REACTUNE_MODEL__THREADS="3', "REACTUNE_MODEL__THREADS"]
)
def test_an_invalid_line_of_dotenv_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text(f"# ours\nREACTUNE_TRAINING__SEED=4\n{line}\n")
    with pytest.raises(SettingsError, match=r"^\.env, line 3: write NAME=value, and close any quotes$"):
        load_settings()


@pytest.mark.parametrize("folder", ["", " ", "a\0b"])
def test_a_folder_without_a_name_is_refused(folder: str) -> None:
    with pytest.raises(SettingsError, match=r"data\.directory = .* is not valid: name a file or folder"):
        load_settings(environment={"REACTUNE_DATA__DIRECTORY": folder})


def test_a_file_that_begins_with_a_byte_order_mark_is_read(config: Path) -> None:
    config.write_text("[chat]\ncooldown_s = 7\n", encoding="utf-8-sig")
    assert load_settings(config, {}).chat.cooldown_s == 7.0


def test_an_empty_token_counts_as_missing(config: Path) -> None:
    config.touch()
    assert load_settings(config, {"DISCORD_TOKEN": ""}).discord_token is None


@pytest.mark.parametrize("text", ["1201,1202", "1201, 1202", " 1201 1202 ", "[1201, 1202]"])
def test_lists_in_the_environment_are_separated_by_commas_or_as_in_the_file(config: Path, text: str) -> None:
    config.touch()
    assert load_settings(config, {"REACTUNE_DISCORD__ADMIN_ROLES": text}).discord.admin_roles == (1201, 1202)


def test_a_table_in_the_environment_is_json(config: Path) -> None:
    config.write_text("[model]\ntemplate_options = { enable_thinking = false, effort = 'low', budget = 3 }\n")
    expected = {"enable_thinking": False, "effort": "low", "budget": 3}
    assert load_settings(config, {}).model.template_options == expected
    as_json = '{"enable_thinking": false, "effort": "low", "budget": 3}'
    assert load_settings(config, {"REACTUNE_MODEL__TEMPLATE_OPTIONS": as_json}).model.template_options == expected


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("enable_thinking=false", """write a JSON object such as {"enable_thinking": false}"""),
        ("[1]", "write a JSON object"),
        ('{"messages": 1}', "'messages' is not a variable that can be set: remove it"),
        ('{"enable_thinking": "no"}', "is text, which templates take for true: write true or false instead"),
        ('{"a b": 1}', "'a b' is not a variable that can be set: remove it"),
        ('{"tags": [1]}', "it must be "),
    ],
)
def test_template_options_that_cannot_be_are_refused(config: Path, given: str, says: str) -> None:
    sentence = refusal(config, REACTUNE_MODEL__TEMPLATE_OPTIONS=given)
    assert sentence.startswith("REACTUNE_MODEL__TEMPLATE_OPTIONS: model.template_options = ")
    assert says in sentence


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("{ heart = 1 }", "'heart' is not an emoji: write one emoji, or a server's own as \"<:name:id>\""),
        ('{ "❤️😂" = 1 }', "'❤️😂' is not an emoji"),
        ('{ "❤️" = 0 }', "❤️ must be 0.1 to 3 as a like, or -3 to -0.1 as a dislike"),
        ('{ "❤️" = 100 }', "❤️ must be 0.1 to 3 as a like, or -3 to -0.1 as a dislike"),
        ('{ "❤️" = true }', "it must be a number"),
        ('{ "❤️" = "much" }', "it must be a number"),
        ('{ "👍" = 2 }', "👍 always counts as one vote: remove it"),
        ('{ "👎🏽" = -2 }', "👎🏽 always counts as one vote: remove it"),
        ('{ "🔁" = 1 }', "🔁 asks for another answer: remove it"),
        ('{ "❤️" = 1, "❤" = 2 }', "❤ is there twice: keep one"),
        ("[1]", "it must be a valid "),
        ("{" + ", ".join(f'"{chr(0x1F400 + i)}" = 1' for i in range(41)) + "}", "name at most 40 emoji"),
    ],
)
def test_emoji_that_cannot_vote_are_refused(config: Path, given: str, says: str) -> None:
    sentence = refusal(config, f"[votes]\nemoji = {given}")
    assert sentence.startswith(f"{config}: votes.emoji = ")
    assert says in sentence


def test_emoji_of_votes_are_read_from_the_file_and_as_json(config: Path) -> None:
    config.write_text('[votes]\nemoji = { "🎉" = 2, "<:meh:123456789012345678>" = -0.5 }\n', encoding="utf-8")
    assert load_settings(config, {}).votes.emoji == {"🎉": 2.0, "<:meh:123456789012345678>": -0.5}
    assert load_settings(config, {"REACTUNE_VOTES__EMOJI": "{}"}).votes.emoji == {}
    assert refusal(config, REACTUNE_VOTES__EMOJI="🎉=2").endswith('write a JSON object such as {"🎉": 1.5}')


def test_the_home_of_a_user_who_does_not_exist_is_refused(config: Path) -> None:
    assert refusal(config, '[data]\ndirectory = "~nobody-here/data"\n') == (
        f"{config}: data.directory = '~nobody-here/data' is not valid: that user does not exist: write the full path"
    )


def test_home_is_expanded_in_the_data_folder(config: Path) -> None:
    config.write_text('[data]\ndirectory = "~/reactune"\n')
    assert load_settings(config, {}).data.directory == Path.home() / "reactune"


def test_database_defaults_to_a_file_in_the_data_folder(config: Path) -> None:
    config.write_text('[data]\ndirectory = "/srv/reactune"\n')
    assert load_settings(config, {}).database_url == "sqlite:////srv/reactune/reactune.db"


# What is refused, and how


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[modl]\nbase = 'x'", "[modl] is not a section: did you mean model?"),
        ("[model]\nbse = 'x'", "model.bse is not a setting: did you mean model.base?"),
        ("[chat]\ntemperature = 1", "chat.temperature is not a setting: did you mean generation.temperature?"),
        (
            "[privacy]\nq = 1",
            "privacy.q is not a setting: it must be one of privacy.discord_training_permission, "
            "privacy.learn_from_reactions, privacy.retention_days, privacy.withdraw_adapters",
        ),
        (
            "[output]\nurl = 1",
            "output.url is not a setting: did you mean database.url or remote.url or pictures.url or voice.url?",
        ),
        (
            '[training]\nobjective = "robust"',
            "training.objective is not a setting any more: delete it (rounds train by DPO)",
        ),
        (
            "[voice]\nserver = 'http://gpu-1:8002'",
            "voice.server is not a setting any more: call it voice.url",
        ),
        (
            "[remote]\nservers = ['http://gpu-1:8000']",
            "remote.servers is not a setting any more: set remote.url to one address; several servers need a router "
            "before them (docs/remote.md)",
        ),
        (
            "[release]\ncanary_days = 7",
            "release.canary_days is not a setting any more: delete it (while a version waits, three answers in ten "
            "come as blind pairs by themselves)",
        ),
        ("model = 5", "model must be a table: write [model] above its settings"),
        ("[[model]]\nbase = 'x'", "model must be a table: write [model] above its settings"),
    ],
)
def test_unknown_names_get_the_nearest_valid_one(config: Path, text: str, sentence: str) -> None:
    assert refusal(config, text) == f"{config}: {sentence}"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[chat]\ncooldown_s = -1", "chat.cooldown_s = -1 is not valid: it must be greater than or equal to 0"),
        ("[training]\nmin_pairs = true", "training.min_pairs = True is not valid: write a number"),
        ("[access]\nservers = [-1]", "access.servers = -1 is not valid: it must be greater than or equal to 0"),
        ("[model]\nthreads = 1.5", "model.threads = 1.5 is not valid: it must be a whole number"),
        ("[model]\ndtype = 'float8'", "model.dtype = 'float8' is not valid: it must be 'auto', 'bfloat16', 'float16'"),
        ("[training]\nlearning_rate = nan", "training.learning_rate = nan is not valid: it must be a finite"),
        ("[training]\nbeta = inf", "training.beta = inf is not valid: it must be a finite number"),
        ("[discord]\nadmin_roles = 5", "discord.admin_roles = 5 is not valid: it must be a valid list"),
        ("[discord]\nadmin_roles = ['a']", "discord.admin_roles = 'a' is not valid: it must be a whole number"),
        ("[model.base]\nx = 1", "model.base = {'x': 1} is not valid: it must be text"),
        ("[chat]\ntime_zone = 'Berlin'", "chat.time_zone = 'Berlin' is not valid: there is no such time zone: write a"),
        ("[chat]\nquiet_hours = '22-7'", "chat.quiet_hours = '22-7' is not valid: write when they begin and end, such"),
        ("[chat]\nquiet_hours = '7:00-07:00'", "chat.quiet_hours = '7:00-07:00' is not valid: they begin and end at"),
        (
            "[chat]\nchannel_rules = { 5 = 'often' }",
            "chat.channel_rules = 'often' is not valid: it must be 'mention', ",
        ),
        ("[chat]\nchannel_rules = { a = 'reply' }", "chat.channel_rules = 'a' is not valid: it must be a whole number"),
    ],
)
def test_invalid_values_name_the_file(config: Path, text: str, sentence: str) -> None:
    assert refusal(config, text).startswith(f"{config}: {sentence}")


def test_an_old_copy_of_all_settings_gets_one_sentence_about_those_that_are_gone(config: Path) -> None:
    sentence = refusal(config, "[database]\nretry_s = 30\nbusy_timeout_s = 1\n[chat]\nsiblings_per_prompt = 6")
    assert sentence == (
        f"{config}: 3 of its settings are gone. database.retry_s: delete it (30 seconds); database.busy_timeout_s: "
        "delete it (30 seconds, or what the address says: sqlite:///file.db?timeout=60); chat.siblings_per_prompt: "
        "delete it (6)"
    )


def test_a_setting_that_is_gone_is_none() -> None:
    assert [one.name for one in describe_settings() if one.name in GONE] == []


def test_what_only_tests_change_is_refused_in_files_and_read_from_variables(config: Path) -> None:
    for name in FOR_TESTS:
        section, key = name.split(".")
        assert f"{name} is not a setting any more: delete it (" in refusal(config, f"{name} = 1")
        assert key in sections()[section].model_fields
    config.write_text("")
    assert load_settings(config, {"REACTUNE_TRAINING__SEED": "5"}).training.seed == 5


def test_invalid_values_name_the_variable(config: Path) -> None:
    sentence = refusal(config, "[chat]\ncooldown_s = 2", REACTUNE_CHAT__COOLDOWN_S="soon")
    assert sentence.startswith("REACTUNE_CHAT__COOLDOWN_S: chat.cooldown_s = 'soon' is not valid: ")


@pytest.mark.parametrize(
    ("variable", "advice"),
    [
        ("REACTUNE_TRAINING_MIN_PAIRS", "did you mean REACTUNE_TRAINING__MIN_PAIRS?"),
        ("REACTUNE_CHAT__COOLDOWN", "did you mean REACTUNE_CHAT__COOLDOWN_S?"),
        ("REACTUNE_CHAT__TEMPERATURE", "did you mean REACTUNE_GENERATION__TEMPERATURE?"),
        ("REACTUNE_TRANING__SEEDS", "did you mean REACTUNE_TRAINING__SEED?"),
        ("REACTUNE_chat__cooldown_s", "did you mean REACTUNE_CHAT__COOLDOWN_S?"),
        ("REACTUNE_TRAINING__NOPE", "see docs/settings.md"),
        ("REACTUNE_FOO", "see docs/settings.md"),
        ("REACTUNE_FOO__SEED", "see docs/settings.md"),
        ("REACTUNE_DISCORD_TOKEN", "set the bot's token as DISCORD_TOKEN, in the environment or in .env"),
    ],
)
def test_unknown_variables_are_refused(config: Path, variable: str, advice: str) -> None:
    assert refusal(config, **{variable: "1"}) == f"the environment variable {variable} is not a setting: {advice}"


def test_other_variables_are_left_alone(config: Path) -> None:
    config.touch()
    assert load_settings(config, {"PATH": "/bin", "REACTUNED": "1"}) == Settings()


def test_a_binary_file_is_refused(config: Path) -> None:
    config.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="is not valid TOML"):
        load_settings(config, {})


def test_a_folder_in_place_of_the_file_is_refused(config: Path) -> None:
    config.mkdir()
    with pytest.raises(SettingsError, match=r"cannot be read \(Is a directory\)"):
        load_settings(config, {})


def test_a_given_config_file_must_exist(config: Path) -> None:
    with pytest.raises(SettingsError, match=r"the settings file .*config\.toml does not exist: check --config"):
        load_settings(config, {})


# Secrets


@pytest.mark.parametrize("text", [f"discord_token = '{TOKEN}'", f"[discord]\ntoken = '{TOKEN}'"])
def test_a_token_in_the_file_is_refused_and_not_repeated(config: Path, text: str) -> None:
    sentence = refusal(config, text)
    assert sentence.endswith("set the bot's token as DISCORD_TOKEN, in the environment or in .env")
    assert TOKEN not in sentence


def shown(settings: Settings) -> str:
    """Return the settings in every way in which they are written."""
    return "\n".join([repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()])


def test_the_token_never_shows(config: Path) -> None:
    config.touch()
    assert TOKEN not in shown(load_settings(config, {"DISCORD_TOKEN": TOKEN}))


def test_the_database_password_never_shows(config: Path) -> None:
    config.touch()
    settings = load_settings(config, {"REACTUNE_DATABASE__URL": PASSWORD_URL})
    assert settings.database_url == PASSWORD_URL
    assert "hunter2" not in repr(settings) + str(settings) + repr(settings.database)


def test_a_refused_database_address_shows_neither_in_the_sentence_nor_in_a_traceback(config: Path) -> None:
    config.write_text(f"[database]\nurl = ['{PASSWORD_URL}']\n")
    with pytest.raises(SettingsError) as refused:
        load_settings(config, {})
    assert str(refused.value).startswith(f"{config}, line 2: database.url = (hidden) is not valid: ")
    assert "hunter2" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("gpu-1:8000", "'gpu-1:8000' is not a server address: write http://host:port or https://host"),
        ("ftp://gpu-1", "'ftp://gpu-1' is not a server address: write http://host:port or https://host"),
    ],
)
def test_an_invalid_server_address_is_refused(config: Path, address: str, sentence: str) -> None:
    told = refusal(config, f"[remote]\nurl = '{address}'")
    assert told.startswith(f"{config}: remote.url = (hidden) is not valid: {sentence}")


@pytest.mark.parametrize("section", ["remote", "pictures", "voice"])
def test_servers_have_addresses_and_keys_of_their_own(config: Path, section: str) -> None:
    variable = f"{section.upper()}_API_KEY"
    for text in (f"[{section}]\napi_key = 'sk-1'", f"[{section}]\nkey = 'sk-1'"):
        sentence = refusal(config, text)
        assert sentence.endswith(f"set the server's key as {variable}, in the environment or in .env")
        assert "sk-1" not in sentence
    assert f"{variable}, in the environment" in refusal(config, **{f"REACTUNE_{variable}": "sk-1"})
    told = refusal(config, f"[{section}]\nurl = 'http://me:hunter2@gpu'")
    assert told.startswith(f"{config}: {section}.url = (hidden) is not valid: ")
    assert told.endswith(f"an address cannot contain a password: set the server's key as {variable}")
    assert "is not a server address" in refusal(config, f"[{section}]\nurl = 'gpu'")
    config.write_text(f"[{section}]\nurl = 'http://gpu:8001/v1/'")
    settings = load_settings(config, {variable: "sk-1"})
    assert getattr(settings, section).url == "http://gpu:8001"
    assert secrets_of(settings) == {"sk-1"}
    assert "sk-1" not in shown(settings)


def test_the_client_secret_comes_from_the_environment_and_never_shows(config: Path) -> None:
    for text in ("[console]\nclient_secret = 'cs-1'", "[discord]\nclient_secret = 'cs-1'"):
        sentence = refusal(config, text)
        assert sentence.endswith("set the OAuth2 client secret as DISCORD_CLIENT_SECRET, in the environment or in .env")
    config.write_text("")
    settings = load_settings(config, {"DISCORD_CLIENT_SECRET": "cs-1"})
    assert secrets_of(settings) == {"cs-1"}
    assert "cs-1" not in sentence + shown(settings)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("", ""),
        ("https://Console.example.org/", "https://console.example.org"),
        ("https://console.example.org:443", "https://console.example.org"),
        ("https://console.example.org:8443", "https://console.example.org:8443"),
        ("http://127.0.0.1:8791", "http://127.0.0.1:8791"),
    ],
)
def test_the_consoles_address_is_read_as_browsers_write_it(config: Path, given: str, read: str) -> None:
    config.write_text(f'[console]\npublic_url = "{given}"')
    assert load_settings(config, {}).console.public_url == read


@pytest.mark.parametrize(
    ("given", "said"),
    [
        *((one, "write https://name") for one in ("http://console.example.org", "x.org", "ftp://x", "https://")),
        *((f"https://{one}", "write https://name, without a path") for one in ("x/a", "x?a=1", "x#a", "me:pw@x")),
    ],
)
def test_the_consoles_address_needs_https_and_has_no_path(config: Path, given: str, said: str) -> None:
    assert f"is not valid: {said}" in refusal(config, f'[console]\npublic_url = "{given}"')


@pytest.mark.parametrize("key", ["privacy.retention_days", "votes.membership_days"])
def test_days_beyond_the_calendar_are_refused(config: Path, key: str) -> None:
    section, name = key.split(".")
    assert "less than or equal to 36500" in refusal(config, f"[{section}]\n{name} = 1e300")


def test_settings_cannot_be_changed() -> None:
    settings = DatabaseSettings()
    with pytest.raises(ValueError, match="frozen"):
        settings.url = "sqlite:///other.db"


# config.toml and docs/settings.md


def shown_in_config() -> list[tuple[str, str, str]]:
    """Return (section, setting, default as TOML with the words after it) of each line that shows one."""
    lines = (ROOT / "config.toml").read_text(encoding="utf-8").splitlines()
    return [tuple(found.groups()) for line in lines if (found := re.fullmatch(r"# (\w+)\.(\w+) = (.*)", line))]  # type: ignore[misc]


def test_config_file_changes_nothing_and_shows_defaults_with_a_reason_to_change_each() -> None:
    text = (ROOT / "config.toml").read_text(encoding="utf-8")
    assert tomllib.loads(text) == {}
    assert len(shown_in_config()) == len(re.findall(r"^# [\w.]+ = ", text, re.MULTILINE)) > 0
    for section, key, rest in shown_in_config():
        value = tomllib.loads(f"v = {rest}")["v"]
        default = getattr(getattr(Settings(), section), key)
        assert (value, "  # " in rest) == (list(default) if isinstance(default, tuple) else default, True), key


def reference() -> str:
    """Return the tables of docs/settings.md, which follow from the settings classes."""
    parts, settings = [], describe_settings()
    for name, cls in sections().items():
        rows = [f"| `{one.key}` | `{one.default}` | {one.description} |" for one in settings if one.section == name]
        if not rows:
            continue
        head = [f"## [{name}]", "", str(cls.__doc__), "", "| Setting | Default | What it does |", "|---|---|---|"]
        parts.append("\n".join([*head, *rows]))
    return "\n\n".join(parts) + "\n"


def test_docs_list_the_settings_as_the_classes_do() -> None:
    text = PAGE.read_text(encoding="utf-8")
    start = text.index("## [")
    if WRITES in os.environ:
        PAGE.write_text(text[:start] + reference(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8")[start:] == reference()


def test_each_setting_is_one_line_of_the_file_as_it_is_described(config: Path) -> None:
    for one in describe_settings():
        assert one.description
        config.write_text(f"{one.name} = {one.default}\n", encoding="utf-8")
        assert load_settings(config, {}) == Settings(), one.name


def test_every_setting_can_be_set_by_its_variable(config: Path) -> None:
    config.touch()
    defaults = {
        variable_name(one.section, one.key): tomllib.loads(f"v = {one.default}")["v"] for one in describe_settings()
    }
    values = {
        variable: "1,2" if value == [] else json.dumps(value) if isinstance(value, dict) else str(value)
        for variable, value in defaults.items()
    }
    more = {
        variable_name("discord", "shard_count"): "3",
        variable_name("remote", "url"): "https://gpu-2/v1/",
    }
    settings = load_settings(config, values | more)
    assert settings.remote.url == "https://gpu-2"
    assert settings.discord.admin_roles == settings.discord.shards == (1, 2)
    assert settings.training == Settings().training


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        *(
            (f"discord.shards = [2]\ndiscord.shard_count = {count}", f"but discord.shard_count = {count}: ")
            for count in (0, 1, 2)
        ),
        (
            "model.engine = 'remote'",
            'model.engine = "remote" needs a server: set remote.url to its address (docs/remote.md)',
        ),
        (
            "generation.max_new_tokens = 4096",
            "generation.max_new_tokens = 4096 leaves no room for a prompt: it must be less than "
            "model.context_tokens = 2048",
        ),
        ("training.processes = 3", "training.batch_size = 4 is not a multiple of training.processes = 3: "),
    ],
)
def test_settings_that_cannot_work_together_are_refused(config: Path, text: str, sentence: str) -> None:
    assert sentence in refusal(config, text)
