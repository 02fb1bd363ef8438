"""Every setting with its type, default and description: one class per section."""

from __future__ import annotations

import json
import re
import tomllib
from contextlib import suppress
from datetime import datetime, time
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from storage.emoji import THUMBS, is_emoji, plain

TOKEN_VARIABLE = "DISCORD_TOKEN"
KEY_VARIABLE = "REMOTE_API_KEY"
PICTURES_KEY_VARIABLE = "PICTURES_API_KEY"
VOICE_KEY_VARIABLE = "VOICE_API_KEY"
CLIENT_SECRET_VARIABLE = "DISCORD_CLIENT_SECRET"
SECRET_VARIABLES = {
    "discord_token": TOKEN_VARIABLE,
    "remote_api_key": KEY_VARIABLE,
    "pictures_api_key": PICTURES_KEY_VARIABLE,
    "voice_api_key": VOICE_KEY_VARIABLE,
    "discord_client_secret": CLIENT_SECRET_VARIABLE,
}
"""The variable of each secret of the settings."""
EVERY_SERVER = 0
"""In access.servers: every server that the bot is in."""
SWITCHES = frozenset({"true", "false", "yes", "no", "on", "off"})
OWN_VARIABLES = frozenset(
    {"messages", "conversation", "add_generation_prompt", "continue_final_message", "chat_template", "tools"}
    | {"documents", "tokenize", "padding", "truncation", "max_length", "tokenizer_kwargs", "sanitize_control_tokens"}
    | {"return_dict", "return_tensors", "return_assistant_tokens_mask"}
)
"""Names of the arguments of transformers' `apply_chat_template`: no template option may have such a name."""
MOST_EMOJI = 40
LEAST_EMOJI_WEIGHT, MOST_EMOJI_WEIGHT = 0.1, 3.0
RESERVED_EMOJI = {**dict.fromkeys(THUMBS, "always counts as one vote"), "🔁": "asks for another answer"}
LOCAL_PAGES = (("http", "127.0.0.1"), ("http", "localhost"))
"""Pages that need no encryption: they never leave the machine."""

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1)]
Days = Annotated[float, Field(ge=0.0, le=36_500.0)]


def _split_commas(value: Any) -> Any:
    """Split a list from an environment variable: "1, 2" or, as in a settings file, "[1, 2]"."""
    if not isinstance(value, str):
        return value
    if value.strip().startswith("["):
        with suppress(tomllib.TOMLDecodeError):
            return tomllib.loads(f"list = {value}")["list"]
    return value.replace(",", " ").split()


def _require_name(value: Any) -> Any:
    if isinstance(value, str) and (not value.strip() or "\0" in value):
        raise ValueError("name a file or folder")
    return value


def _expand_home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError("that user does not exist: write the full path") from error


def _server_address(text: str, key_variable: str) -> str:
    """Return the server's address without a trailing slash or /v1; raises ValueError if it is not a server address."""
    parts = urlsplit(text)
    if "@" in text:
        raise ValueError(f"an address cannot contain a password: set the server's key as {key_variable}")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"{text!r} is not a server address: write http://host:port or https://host")
    return text.rstrip("/").removesuffix("/v1")


def _address_or_none(key_variable: str) -> AfterValidator:
    """Return a validator of a server's address that may be missing."""
    return AfterValidator(lambda text: _server_address(text, key_variable) if text else "")


def _public_address(text: str) -> str:
    """Return the origin of a web page as browsers write it; raises ValueError if it is not safe to sign in there."""
    parts = urlsplit(text)
    if text and (not parts.hostname or parts.path not in ("", "/") or parts.query or parts.fragment or "@" in text):
        raise ValueError("write https://name, without a path")
    if text and parts.scheme != "https" and (parts.scheme, parts.hostname) not in LOCAL_PAGES:
        raise ValueError("write https://name: over plain http, anyone on the way could take a session")
    return f"{parts.scheme}://{parts.netloc.lower().removesuffix(':443')}" if text else ""


def _table_such_as(example: str) -> BeforeValidator:
    """Read a table from an environment variable: a JSON object."""

    def parse(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        with suppress(ValueError):
            table = json.loads(value)
            if isinstance(table, dict):
                return table
        raise ValueError(f"write a JSON object such as {example}")

    return BeforeValidator(parse)


def _refuse_own_variables(options: dict[str, Any]) -> dict[str, Any]:
    for name, value in options.items():
        if name in OWN_VARIABLES or not name.isidentifier():
            raise ValueError(f"{name!r} is not a variable that can be set: remove it")
        if isinstance(value, str) and value.lower() in SWITCHES:
            raise ValueError(f"{name} = {value!r} is text, which templates take for true: write true or false instead")
    return options


def _check_emoji(weights: dict[str, float]) -> dict[str, float]:
    if len(weights) > MOST_EMOJI:
        raise ValueError(f"name at most {MOST_EMOJI} emoji")
    seen: set[str] = set()
    for emoji, weight in weights.items():
        if not is_emoji(emoji):
            raise ValueError(f'{emoji!r} is not an emoji: write one emoji, or a server\'s own as "<:name:id>"')
        if plain(emoji) in RESERVED_EMOJI:
            raise ValueError(f"{emoji} {RESERVED_EMOJI[plain(emoji)]}: remove it")
        if not LEAST_EMOJI_WEIGHT <= abs(weight) <= MOST_EMOJI_WEIGHT:
            least, most = LEAST_EMOJI_WEIGHT, MOST_EMOJI_WEIGHT
            raise ValueError(f"{emoji} must be {least} to {most:g} as a like, or {-most:g} to {-least} as a dislike")
        if plain(emoji) in seen:
            raise ValueError(f"{emoji} is there twice: keep one")
        seen.add(plain(emoji))
    return weights


TemplateVariables = Annotated[
    dict[str, bool | int | float | str],
    _table_such_as('{"enable_thinking": false}'),
    AfterValidator(_refuse_own_variables),
]
ChannelRules = Annotated[
    dict[Annotated[int, Field(ge=0)], Literal["mention", "reply", "question", "always"]],
    _table_such_as('{"1201": "question"}'),
]
EmojiWeights = Annotated[
    dict[str, Annotated[float, Field(strict=True)]], _table_such_as('{"🎉": 1.5}'), AfterValidator(_check_emoji)
]
TolerantCheck = Literal["broken", "variety", "coherence", "retention", "divergence", "length", "overshoot", "suites"]
Tolerance = Annotated[dict[TolerantCheck, Annotated[float, Field(gt=0.0)]], _table_such_as('{"length": 2.0}')]
Ids = Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_split_commas)]
Folder = Annotated[Path, BeforeValidator(_require_name), AfterValidator(_expand_home)]
Files = Annotated[tuple[Folder, ...], BeforeValidator(_split_commas)]


def _require_address(value: str) -> str:
    address = urlsplit(value)
    if value and not (address.scheme and value.startswith(f"{address.scheme}://")):
        raise ValueError("write an address such as s3://bucket/folder or file:///folder")
    if address.password is not None:
        raise ValueError("put credentials in the environment, not in the address")
    return value


def parse_quiet_hours(text: str) -> tuple[time, time] | None:
    """Return the beginning and end of "22:00-07:00", or None if the text is empty; raises ValueError."""
    if not text.strip():
        return None
    try:
        start, end = (datetime.strptime(part.strip(), "%H:%M").time() for part in text.split("-"))  # noqa: DTZ007
    except ValueError as error:
        raise ValueError('write when they begin and end, such as "22:00-07:00"') from error
    if start == end:
        raise ValueError("they begin and end at the same time: write two times, or leave it empty")
    return start, end


def _check_answer_language(value: str) -> str:
    if value and not re.fullmatch(r"[^\W\d_][\w ()-]{0,39}", value):
        raise ValueError('it must be "message", the name of a language, such as "German", or empty')
    return value


def _check_quiet_hours(text: str) -> str:
    parse_quiet_hours(text)
    return text


def _check_time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError('there is no such time zone: write a name such as "Europe/Berlin"') from error
    return name


class Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,  # a traceback must not show a password
    )

    @field_validator("*", mode="before")
    @classmethod
    def _reject_bool_for_number(cls, value: Any, field: ValidationInfo) -> Any:
        if isinstance(value, bool) and cls.model_fields[field.field_name or ""].annotation in (int, float):
            raise ValueError("write a number")
        return value


class DataSettings(Section):
    """The folder of Reactune's files, and of adapters."""

    directory: Folder = Path("data")
    """Folder for the database, adapters, the converted base model and lock files."""
    adapters: Annotated[str, AfterValidator(_require_address), Field(repr=False)] = ""
    """Shared adapter store: s3://bucket/folder or file:///folder. Empty: the data folder (docs/scaling.md)."""


class DatabaseSettings(Section):
    """The database of answers, votes and versions."""

    url: str = Field(default="", repr=False)
    """SQLAlchemy URL. Empty: SQLite in the data folder. PostgreSQL: postgresql+psycopg://user:password@host/name."""
    pool_size: Count = 5
    """PostgreSQL connections that each process keeps open; it opens up to twice as many more when all are busy."""
    statement_timeout_s: Annotated[float, Field(ge=0.0, le=2_000_000.0)] = 120.0
    """Seconds after which PostgreSQL cancels a statement; 0: the server's own limits, also for locks (PgBouncer)."""


class DiscordSettings(Section):
    """The bot's admins, and its connection to Discord."""

    admin_roles: Ids = ()
    """IDs of admin roles. Manage Server works too, except for changing what several servers share."""
    message_content_intent: bool = True
    """Request the message content intent; without it only mentions, replies that ping it and direct messages arrive."""
    sync_commands: bool = True
    """Register the slash commands with Discord at start-up."""
    shard_count: Annotated[int, Field(ge=0)] = 1
    """Number of shards (gateway connections); required above 2,500 servers. 0: as many as Discord recommends."""
    shards: Ids = ()
    """Numbers of the shards that this process runs, counted from 0. Empty: all of them."""
    members_intent: bool = False
    """Request the privileged server members intent, to notice departures at once instead of once a day."""
    language: str = ""
    """Language of public sentences, such as de, where a server chose none. Empty: Discord's (docs/languages.md)."""
    translations: Folder = Path("locales")
    """Folder of more translations (.po files), such as fr.po; read when the bot starts."""


class AccessSettings(Section):
    """Members and places that the bot serves; everyone else is refused."""

    servers: Ids = ()
    """IDs of the servers to serve. Empty: none. 0: every server that invites the bot."""
    channels: Ids = ()
    """IDs of the channels or categories to serve, including their threads. Empty: all channels."""
    roles: Ids = ()
    """IDs of the roles whose members are served, in addition to admins. Empty: everyone."""
    direct_messages: bool = True
    """Also serve members of a served server in direct messages."""


class LimitSettings(Section):
    """Maximum requests (answers and commands) per minute; an hour allows 12 to 25 times as many; 0: no limit."""

    member_per_minute: Annotated[int, Field(ge=0)] = 10
    """Requests by one member per minute, including admin commands."""
    channel_per_minute: Annotated[int, Field(ge=0)] = 30
    """Requests in one channel or thread per minute. A server has four times that, and so have all direct messages."""


class OutputSettings(Section):
    """Links that the bot's messages can contain."""

    allow_masked_links: bool = False
    """Allow links hidden behind other text, `[text](address)`; off also shows the address."""
    allow_invites: bool = False
    """Allow invitations to Discord servers; off removes them."""


class ModelSettings(Section):
    """The model that answers."""

    base: str = "bundled"
    """Base model: "bundled" (SmolLM2-135M-Instruct), "gemma3-270m" (untuned), a local folder, or a Hub ID."""
    template_options: TemplateVariables = {}
    """Variables of the base's chat template, such as { enable_thinking = true }; thinking is off by default."""
    engine: Literal["auto", "openvino", "transformers", "remote"] = "auto"
    """"openvino" (CPU), "transformers" (any model, GPU), "auto" (one of these two) or "remote" (see [remote])."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Number format of transformers' weights and of what OpenVINO computes; "auto" is bfloat16 where supported."""
    quantization: Literal["", "4bit"] = ""
    """"4bit": transformers and rounds use 4-bit weights (NF4), on an NVIDIA GPU with the extra `qlora`."""
    context_tokens: Annotated[int, Field(ge=64)] = 2048
    """Maximum length of prompt plus answer, in tokens; the oldest turns are dropped to fit."""
    resident_adapters: Count = 4
    """Versions kept in memory, or loaded on vLLM; the least recently used one is evicted first."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """CPU threads for answering; 0 lets the engine choose."""


class RemoteSettings(Section):
    """The model server that answers instead of this machine, if model.engine is "remote" (docs/remote.md)."""

    url: Annotated[str, _address_or_none(KEY_VARIABLE)] = Field(default="", repr=False)  # it may contain a password
    """Address of a model server with the base model, such as http://gpu-1:8000, or of a router before several."""
    kind: Literal["vllm", "llama.cpp", "openai"] = "vllm"
    """Its software, which decides how versions are loaded. "openai": any compatible one, base model only."""
    model: str = ""
    """The model server's name for the base model. Empty: the first model that it lists."""
    adapter_path: str = ""
    """Path at which vLLM sees the data folder's `served` folder. Empty: the same path as here."""
    connect_timeout_s: Positive = 5.0
    """Seconds to wait for a connection or a health check."""
    first_token_timeout_s: Positive = 60.0
    """Seconds to wait for the first token before the answer is requested again; a third for each after it."""
    tokens_per_day: Annotated[int, Field(ge=0)] = 0
    """Prompt and answer tokens per UTC day; then the bot stops answering until midnight. 0: no limit."""
    prompt_price: Annotated[float, Field(ge=0.0)] = 0.0
    """Price of a million prompt tokens in your currency, for /version status; 0: none."""
    answer_price: Annotated[float, Field(ge=0.0)] = 0.0
    """Price of a million answer tokens in your currency, for /version status; 0: none."""


class GenerationSettings(Section):
    """Sampling of answers."""

    temperature: Annotated[float, Field(ge=0.0, le=5.0)] = 0.7
    """Sampling temperature; 0 is greedy."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 0.9
    """Nucleus sampling: keep the smallest set of tokens with at least this total probability."""
    presence_penalty: Annotated[float, Field(ge=0.0, le=2.0)] = 1.5
    """Lowers the score of tokens that the answer already contains, as in OpenAI's API; 0 disables it."""
    max_new_tokens: Count = 256
    """Maximum length of an answer, in tokens."""
    max_thought_tokens: Annotated[int, Field(ge=0)] = 1024
    """Maximum length of a thought before an answer, in tokens; members never see thoughts (docs/models.md)."""
    timeout_s: Positive = 120.0
    """Seconds after which an unfinished answer is stopped."""
    batch_size: Count = 8
    """Answers generated at the same time; with a model server, by all that is behind its address."""
    queue_size: Count = 32
    """Maximum waiting answers per personality; beyond that the bot says that it is busy."""
    candidates: Annotated[int, Field(ge=1, le=8)] = 4
    """Answers begun for a question; the one that members like most is finished; fewer when busy or slow; 1: off."""
    exploration: Annotated[float, Field(ge=0.0, le=1.0)] = 0.15
    """Share of such answers that are chosen at random, so that the gain can be measured."""
    examples: Annotated[int, Field(ge=0, le=8)] = 2
    """Own answers that members would like, shown to the base as earlier turns; 0: none, and no instruction."""
    card_examples: Annotated[int, Field(ge=0, le=32)] = 4
    """Most dialogues of its card that the base is shown as earlier turns until a version answers; 0: none."""


class ChatSettings(Section):
    """Conversations with the bot."""

    system_prompt: str = "You are Reactune, a friendly bot on this Discord server. Answer briefly and plainly."
    """System prompt of a personality whose card has none."""
    answer_language: Annotated[str, AfterValidator(_check_answer_language)] = ""
    """Language of answers: "message" for the message's own, or one, such as "German". Empty: as the prompt says."""
    cooldown_s: Annotated[float, Field(ge=0.0)] = 3.0
    """Minimum seconds between two answers to the same member."""
    history_messages: Annotated[int, Field(ge=0, le=100)] = 20
    """Maximum earlier messages in a prompt."""
    edit_interval_s: Annotated[float, Field(ge=0.0)] = 1.0
    """Minimum seconds between two edits of a message while its answer is written."""
    second_answers: Share = 0.1
    """Share of answers with a blind second one, at most half; at least 0.2 or 0.3 while choices decide. 0: none."""
    drain_s: Annotated[float, Field(ge=0.0)] = 20.0
    """Seconds that a shutdown waits for unfinished answers."""
    channel_rules: ChannelRules = {}
    """Messages to answer in a channel or category, by its ID: "mention", "reply" (default), "question" or "always"."""
    quiet_hours: Annotated[str, AfterValidator(_check_quiet_hours)] = ""
    """Daily hours, such as "22:00-07:00", in which only mentions are answered and nothing is announced. Empty: none."""
    time_zone: Annotated[str, AfterValidator(_check_time_zone)] = "UTC"
    """Time zone of the quiet hours, such as "Europe/Berlin"."""


class MemorySettings(Section):
    """The bot's memory of members, with their consent (docs/memory.md)."""

    propose_facts: bool = True
    """Ask members, at most once a day each, whether to remember what they said about themselves to the bot."""
    notes_in_prompt: Annotated[int, Field(ge=0, le=20)] = 3
    """Maximum notes of a member in the prompt of an answer to them: those nearest in meaning; 0: none."""


class AttachmentSettings(Section):
    """Pictures, files and links in members' messages (docs/attachments.md)."""

    max_bytes: Count = 8_000_000
    """Maximum size of a picture, file, voice message or web page, in bytes."""
    links: bool = False
    """Read the web pages that members link to. The bot then opens addresses that strangers choose."""


class PictureSettings(Section):
    """Descriptions of pictures, by a model server or by a base that supports images (docs/attachments.md)."""

    url: Annotated[str, _address_or_none(PICTURES_KEY_VARIABLE)] = Field(default="", repr=False)
    """Address of a model server for images, with OpenAI's /v1/chat/completions. Empty: the base, if it can."""
    model: str = ""
    """The model server's name for that model. Empty: none is named, which vLLM and llama.cpp accept."""
    timeout_s: Positive = 30.0
    """Seconds to wait for it; then the question is answered without the picture."""


class VoiceSettings(Section):
    """A model server that writes down voice messages (docs/attachments.md)."""

    url: Annotated[str, _address_or_none(VOICE_KEY_VARIABLE)] = Field(default="", repr=False)
    """Address of a model server with OpenAI's /v1/audio/transcriptions. Empty: the bot cannot listen."""
    model: str = ""
    """The model server's name for that model, such as "whisper-1". Empty: none is named, which vLLM accepts."""
    timeout_s: Positive = 60.0
    """Seconds to wait for the text."""


class PersonalitySettings(Section):
    """The bot's personalities."""

    directory: Folder = Path("personalities")
    """Folder of personality cards (TOML); new and changed cards are loaded when the bot starts."""


class VoteSettings(Section):
    """Rules for counting reactions."""

    emoji: EmojiWeights = {"❤️": 1.5, "⭐": 1.5, "🔥": 1.0, "😂": 0.5, "💩": -1.5, "😡": -1.5, "🥱": -0.5}
    """Emoji that vote besides 👍 and 👎, and how many thumbs each counts as in the taste; below 0: a dislike."""
    account_age_days: Days = 30.0
    """Account age in days at which votes and suggestions count in full, rising from zero; 0 disables it."""
    membership_days: Days = 7.0
    """Days of membership after which votes and suggestions count in full, rising from zero; 0 disables it."""
    max_voter_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    """Maximum share of a round, and of a taste, per member; more while few vote; 1 disables it."""
    burst_votes: Annotated[int, Field(ge=0)] = 5
    """New or silent accounts whose equal votes are held as suspicious; 0 disables it."""
    burst_minutes: Positive = 60.0
    """Minutes within which such votes are given."""


class PairSettings(Section):
    """Preference pairs: people's own, and fresh answers that the taste model ranks."""

    ranked_prompts: Annotated[int, Field(ge=0)] = 128
    """Prompts answered for each round, from the bank and recent messages that may be used. 0: none."""
    ranked_answers: Annotated[int, Field(ge=2)] = 8
    """Answers to each of these prompts; those that the current version has not given yet are drawn."""
    min_probability: Annotated[float, Field(ge=0.5, lt=1.0)] = 0.6
    """Minimum probability, by the taste, that the best of these answers is liked better than the worst."""


class TrainingSettings(Section):
    """Rounds: their schedule, data and training."""

    schedule: str = "0 4 * * *"
    """Cron expression for scheduled rounds (minute hour day month weekday, UTC). Empty: none."""
    min_pairs: Count = 8
    """Minimum pairs for a round, of people or ranked by the taste; with fewer it is skipped."""
    max_pairs: Count = 512
    """Maximum pairs in a round: the newest ones of people; the taste gets at least a quarter of the room."""
    beta: Positive = 0.3
    """Strength of the pull towards the base or the starter (DPO, Rafailov et al. 2023, eq. 7)."""
    sft_weight: Annotated[float, Field(ge=0.0)] = 1.0
    """Weight of the likelihood loss on chosen answers, which keeps answers coherent; 0 disables it."""
    learning_rate: Positive = 2e-4
    """Peak learning rate of AdamW."""
    epochs: Positive = 1.0
    """Passes over the pairs; a few pairs get up to six, until there are 48 steps."""
    min_steps: Annotated[int, Field(ge=0)] = 48
    """Minimum training steps, so that even a few pairs have an effect."""
    patience: Annotated[int, Field(ge=0)] = 1
    """Passes without a lower loss on people's validation pairs, if 8 or more, before training stops; 0 disables it."""
    batch_size: Count = 4
    """Pairs per training step."""
    max_tokens: Annotated[int, Field(ge=32)] = 768
    """Maximum length of prompt plus answer, in tokens; longer pairs are left out, with a note."""
    lora_rank: Count = 16
    """Rank of a new adapter; its scale is twice the rank."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Number format of the frozen weights during training; "auto" is bfloat16 where supported."""
    quantization: Literal["", "4bit"] = ""
    """"4bit": rounds use 4-bit weights (QLoRA) even if the bot does not; "": as `model.quantization` says."""
    processes: Annotated[int, Field(ge=1, le=64)] = 1
    """Training processes, one per GPU of this machine; they share `batch_size`."""
    seed: Annotated[int, Field(ge=0)] = 17
    """Seed of the drawn answers, the new adapter and the order of pairs."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 1
    """CPU threads for a round; 0 lets PyTorch choose."""
    niceness: Annotated[int, Field(ge=0, le=19)] = 10
    """Unix niceness of a round, from 0 (normal priority) to 19 (lowest)."""
    keep_versions: Annotated[int, Field(ge=0)] = 0
    """Newest versions per personality that keep their files, besides those in use and their starters; 0: all."""


class DemonstrationSettings(Section):
    """Training of a personality's first version on its card's examples; for the rest see [training]."""

    epochs: Positive = 6.0
    """Maximum passes over the examples."""


class GateSettings(Section):
    """Checks that a new version must pass before it can be promoted."""

    tolerance: Tolerance = {}
    """How much more than usual a check allows, such as { length = 2.0 } for twice as much (docs/checks.md)."""
    coherence_model: str = ""
    """Coherence model: "gemma3-270m", a folder, a Hub ID or "base". Empty: Gemma if installed, else the base."""
    suites: Files = ()
    """Your own test cases besides the shipped ones: JSON Lines files (docs/checks.md)."""


class ReleaseSettings(Section):
    """Promotion of new versions."""

    auto_promote: bool = False
    """Release a version without waiting for an admin, once people's choices say that it is better."""
    announce_channel: Annotated[int, Field(ge=0)] = 0
    """ID of the channel where releases, and versions that are ready or dropped, are announced; 0: none."""
    weekly: bool = False
    """Post a summary of the past week there on Mondays."""


class ArenaSettings(Section):
    """Blind comparisons of answers, for members to choose from."""

    schedule: str = ""
    """Cron expression for arenas (minute hour day month weekday, UTC). Empty: only admins start them."""
    channel: Annotated[int, Field(ge=0)] = 0
    """ID of the channel for scheduled arenas; 0: none."""
    prompts: str = ""
    """Your prompt bank: a text file with one prompt per line. Empty: the bundled bank."""


class KnowledgeSettings(Section):
    """Facts that are looked up in a server's documents and quoted in the prompt, never trained on."""

    enabled: bool = True
    """Look questions up; off keeps the documents but quotes none."""
    roles: Ids = ()
    """IDs of roles that can use /knowledge, and /review for wrong facts, in addition to admins."""
    budget_tokens: Annotated[int, Field(ge=32)] = 512
    """Maximum length of the quoted text in a prompt, including its headings, in tokens."""
    max_documents: Count = 500
    """Maximum documents per server."""
    max_chunks: Count = 20_000
    """Maximum passages per server; 1,000 take about 3 MB."""
    max_file_bytes: Count = 8_000_000
    """Maximum size of an attachment, in bytes."""


class LogSettings(Section):
    """Logs: their format, level and files."""

    format: Literal["human", "json"] = "human"
    """"human": lines for people. "json": one JSON object per line, for a log collector."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Minimum severity that is logged."""
    file: str = ""
    """Also log to a file. Each process has its own: logs/bot.log becomes logs/bot.trainer.log. Empty: none."""
    max_bytes: Count = 10_000_000
    """Size at which a log file is rotated, in bytes."""
    keep: Annotated[int, Field(ge=0)] = 5
    """Rotated log files to keep; older ones are deleted."""


class MetricsSettings(Section):
    """Prometheus metrics and health checks over HTTP."""

    port: Annotated[int, Field(ge=0, le=65534)] = 9108
    """Port of the bot's /metrics and /health; the trainer's is the next one. 0: off. A process goes on without."""
    address: str = "127.0.0.1"
    """Address to listen on. The pages have no password, so do not expose them."""

    @property
    def trainer_port(self) -> int:
        """The port of the trainer's /metrics; 0: off."""
        return self.port + 1 if self.port else 0

    @property
    def host(self) -> str:
        """The address as it is written in a URL."""
        return f"[{self.address}]" if ":" in self.address else self.address


class ConsoleSettings(Section):
    """The console, a web page on this machine: `reactune console` opens it."""

    port: Annotated[int, Field(ge=0, le=65535)] = 8791
    """Port on 127.0.0.1; 0: off. If the port is taken, the bot logs it and runs without the console."""
    public_url: Annotated[str, AfterValidator(_public_address)] = ""
    """https address of a reverse proxy in front of it: admins sign in with Discord there. Empty: only the operator."""


class AlertSettings(Section):
    """Problems that the bot reports to admins."""

    channel: Annotated[int, Field(ge=0)] = 0
    """ID of the channel where each problem is reported when it starts and when it ends; 0: only in the log."""
    min_free_gb: Annotated[float, Field(ge=0.0)] = 2.0
    """Free space in the data folder, in GB, below which the disk is reported as low."""


class PrivacySettings(Section):
    """Use of data for training, and its retention."""

    discord_training_permission: bool = False
    """You attest that Discord granted express permission to train on message content (Developer Policy, rule 21)."""
    learn_from_reactions: bool = True
    """Learn what members like from reactions to the bot's answers, and train on it. Members' words are not read."""
    retention_days: Days = 30.0
    """Days to keep answers without votes, and data of departed members and servers; 0: forever."""
    withdraw_adapters: Literal["keep", "when_replaced"] = "keep"
    """Files of versions trained on since-deleted data: "keep", or remove them "when_replaced"."""


FOR_TESTS = frozenset(
    {
        *("discord.sync_commands", "remote.connect_timeout_s", "generation.queue_size", "generation.exploration"),
        *("chat.edit_interval_s", "votes.burst_minutes", "pairs.ranked_answers", "pairs.min_probability"),
        *("training.sft_weight", "training.min_steps", "training.patience", "training.seed", "training.niceness"),
        *("chat.history_messages", "knowledge.max_documents", "knowledge.max_chunks", "knowledge.budget_tokens"),
        *("demonstration.epochs", "discord.translations", "logs.max_bytes", "logs.keep"),
    }
)
"""Settings that nobody who runs a bot needs to change: tests, benchmarks and the demo do, by variables.

Settings files refuse them, and no list shows them.
"""


class Settings(Section):
    data: DataSettings = DataSettings()
    database: DatabaseSettings = DatabaseSettings()
    discord: DiscordSettings = DiscordSettings()
    access: AccessSettings = AccessSettings()
    limits: LimitSettings = LimitSettings()
    output: OutputSettings = OutputSettings()
    model: ModelSettings = Field(default_factory=ModelSettings)
    remote: RemoteSettings = RemoteSettings()
    generation: GenerationSettings = GenerationSettings()
    chat: ChatSettings = ChatSettings()
    memory: MemorySettings = MemorySettings()
    attachments: AttachmentSettings = AttachmentSettings()
    pictures: PictureSettings = PictureSettings()
    voice: VoiceSettings = VoiceSettings()
    personalities: PersonalitySettings = PersonalitySettings()
    votes: VoteSettings = VoteSettings()
    pairs: PairSettings = PairSettings()
    training: TrainingSettings = Field(default_factory=TrainingSettings, validate_default=True)
    demonstration: DemonstrationSettings = DemonstrationSettings()
    gate: GateSettings = GateSettings()
    release: ReleaseSettings = ReleaseSettings()
    arena: ArenaSettings = ArenaSettings()
    knowledge: KnowledgeSettings = KnowledgeSettings()
    logs: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()
    console: ConsoleSettings = ConsoleSettings()
    alerts: AlertSettings = AlertSettings()
    privacy: PrivacySettings = PrivacySettings()
    discord_token: SecretStr | None = Field(default=None, exclude=True)
    """The bot's token, from DISCORD_TOKEN in the environment or .env; never from a settings file."""
    remote_api_key: SecretStr | None = Field(default=None, exclude=True)
    """API key of the server of [remote], from REMOTE_API_KEY in the environment or .env; never from a settings file."""
    pictures_api_key: SecretStr | None = Field(default=None, exclude=True)
    """API key of the server of [pictures], from PICTURES_API_KEY in the environment or .env."""
    voice_api_key: SecretStr | None = Field(default=None, exclude=True)
    """API key of the server of [voice], from VOICE_API_KEY in the environment or .env."""
    discord_client_secret: SecretStr | None = Field(default=None, exclude=True)
    """With console.public_url, lets admins sign in; from DISCORD_CLIENT_SECRET in the environment or .env."""

    @field_validator("training")
    @classmethod
    def _train_on_what_is_served(cls, training: TrainingSettings, others: ValidationInfo) -> TrainingSettings:
        served = others.data.get("model", ModelSettings()).quantization
        return training.model_copy(update={"quantization": training.quantization or served})

    @property
    def database_url(self) -> str:
        return self.database.url or f"sqlite:///{self.data.directory / 'reactune.db'}"


def sections() -> dict[str, type[Section]]:
    """Return {name: class}, in the order of docs/settings.md."""
    return {
        name: field.annotation
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }
