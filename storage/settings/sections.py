"""Every setting with its type, unit and default, a class for each table of config.toml."""

from __future__ import annotations

import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

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

from storage.models.hardware import number_format

TOKEN_VARIABLE = "DISCORD_TOKEN"
KEY_VARIABLE = "REMOTE_API_KEY"
EVERY_SERVER = 0
"""In access.servers: all servers that the bot is in."""

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1)]
Days = Annotated[float, Field(ge=0.0, le=36_500.0)]


def _split_commas(value: Any) -> Any:
    """Environment variables hold lists as text, with commas or as config.toml has them: "1, 2" or "[1, 2]"."""
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
        raise ValueError("there is no such user: write the whole path") from error


def _server_address(text: str) -> str:
    """Return the address of a server without what clients often add to it; raises ValueError on what is none."""
    parts = urlsplit(text)
    if "@" in text:
        raise ValueError(f"an address may hold no password: put the servers' key into the variable {KEY_VARIABLE}")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"{text!r} is no address of a server: write http://host:port or https://host")
    return text.rstrip("/").removesuffix("/v1")


Ids = Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_split_commas)]
Servers = Annotated[tuple[Annotated[str, AfterValidator(_server_address)], ...], BeforeValidator(_split_commas)]
Folder = Annotated[Path, BeforeValidator(_require_name), AfterValidator(_expand_home)]
Files = Annotated[tuple[Folder, ...], BeforeValidator(_split_commas)]


def _require_address(value: str) -> str:
    address = urlsplit(value)
    if value and not (address.scheme and value.startswith(f"{address.scheme}://")):
        raise ValueError("write an address such as s3://bucket/folder or file:///folder")
    if address.password is not None:
        raise ValueError("credentials belong into the environment, not into the address")
    return value


class Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,  # a traceback must not show a password
    )

    @field_validator("*", mode="before")
    @classmethod
    def _tell_true_from_one(cls, value: Any, field: ValidationInfo) -> Any:
        if isinstance(value, bool) and cls.model_fields[field.field_name or ""].annotation in (int, float):
            raise ValueError("write a number")
        return value


class DataSettings(Section):
    """Where Reactune keeps its files."""

    directory: Folder = Path("data")
    """Folder for the database, adapters, the converted base model and locks."""
    adapters: Annotated[str, AfterValidator(_require_address), Field(repr=False)] = ""
    """Shared store of adapters, s3://bucket/folder or file:///folder; empty is the data folder (docs/scaling.md)."""
    adapter_cache_bytes: Count = 4_000_000_000
    """Bytes in the data folder for adapters of a shared store; those that an alias names stay in any case."""


class DatabaseSettings(Section):
    """Where replies, votes and versions are stored."""

    url: str = Field(default="", repr=False)
    """SQLAlchemy URL; empty means SQLite in the data folder. PostgreSQL: postgresql+psycopg://user:password@host/name."""
    busy_timeout_s: Positive = 30.0
    """Seconds that SQLite waits for another writer before it gives up."""
    pool_size: Count = 5
    """Connections to PostgreSQL that each process keeps open."""
    pool_overflow: Annotated[int, Field(ge=0)] = 10
    """Further connections to PostgreSQL while those are busy; they are closed after use."""
    pool_timeout_s: Positive = 30.0
    """Seconds that work waits for one of these connections."""
    pool_recycle_s: Positive = 1800.0
    """Age in seconds at which a connection to PostgreSQL is replaced."""
    statement_timeout_s: Annotated[float, Field(ge=0.0, le=2_000_000.0)] = 120.0
    """Seconds after which PostgreSQL ends a statement; 0 leaves it to the server."""
    lock_timeout_s: Annotated[float, Field(ge=0.0, le=2_000_000.0)] = 30.0
    """Seconds after which PostgreSQL ends the wait for a lock; 0 leaves it to the server."""
    idle_transaction_timeout_s: Annotated[float, Field(ge=0.0, le=2_000_000.0)] = 300.0
    """Seconds after which PostgreSQL ends a transaction that does nothing; 0 leaves it to the server."""
    retry_s: Annotated[float, Field(ge=0.0)] = 30.0
    """Seconds that a transaction is tried again after PostgreSQL went away or refused two at a time; 0 is off."""


class DiscordSettings(Section):
    """Who may do what, and what the bot asks Discord for."""

    admin_roles: Ids = ()
    """Ids of roles that may use /model; members with Manage Server may too, but not for what other servers share."""
    free_response_channels: Ids = ()
    """Ids of channels in which every message is answered, without a mention."""
    message_content_intent: bool = True
    """Ask Discord for the privileged message content intent; without it the bot serves mentions and direct messages."""
    sync_commands: bool = True
    """Register the slash commands with Discord at start-up."""
    shard_count: Annotated[int, Field(ge=0)] = 1
    """Connections that share the servers out; Discord wants several beyond 2,500. 0 is as many as it recommends."""
    shards: Ids = ()
    """Numbers of the connections that this process serves, from 0; empty is all. Others are for other processes."""
    members_intent: bool = False
    """Ask Discord for the privileged server members intent: who leaves is noticed at once, otherwise once a day."""


class AccessSettings(Section):
    """Who is served; what is not named here is refused."""

    servers: Ids = ()
    """Ids of the servers that are served; empty is none, and 0 is every server that invites the bot."""
    channels: Ids = ()
    """Ids of channels or categories that are served, their threads included; empty is all of a served server."""
    roles: Ids = ()
    """Ids of roles whose members are served, beside admins; empty is everyone there."""
    direct_messages: bool = True
    """Serve members of a served server in direct messages too."""


class LimitSettings(Section):
    """Most requests, each an answer or a command, in a minute and in an hour; 0 is no limit."""

    member_per_minute: Annotated[int, Field(ge=0)] = 10
    """Of one member; admins' commands count as well."""
    member_per_hour: Annotated[int, Field(ge=0)] = 120
    """Of one member."""
    channel_per_minute: Annotated[int, Field(ge=0)] = 30
    """In one channel or thread."""
    channel_per_hour: Annotated[int, Field(ge=0)] = 600
    """In one channel or thread."""
    server_per_minute: Annotated[int, Field(ge=0)] = 120
    """In one server; all direct messages together count as one."""
    server_per_hour: Annotated[int, Field(ge=0)] = 3_000
    """In one server; all direct messages together count as one."""


class OutputSettings(Section):
    """What the bot's messages may hold of words that nobody vouches for."""

    allow_masked_links: bool = False
    """Let answers hide a link behind other words; off spells its target out."""
    allow_invites: bool = False
    """Let answers hold invitations to Discord servers; off removes them."""


class ModelSettings(Section):
    """The model that answers."""

    base: str = "bundled"
    """The base model: "bundled" (SmolLM2-135M-Instruct), "gemma3-270m" (untuned), a local folder, or a hub id."""
    engine: Literal["auto", "openvino", "transformers", "remote"] = "auto"
    """What runs it: "openvino" (CPUs), "transformers" (any model, GPUs), "auto" (of these), "remote" (see [remote])."""
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """Number format of answering: transformers' weights, OpenVINO's factors; "auto": bfloat16 if the machine has it."""
    context_tokens: Annotated[int, Field(ge=64)] = 2048
    """Tokens that prompt and answer share; the oldest turns are dropped to fit."""
    resident_adapters: Count = 4
    """Versions kept in memory; the least recently used one leaves first."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """CPU threads for answering; 0 leaves the choice to the engine."""

    @property
    def number_format(self) -> str:
        """`dtype`, decided for this machine; PyTorch is asked only where there is a GPU that may be used."""
        return number_format(self.dtype, may_use_gpu=self.engine != "openvino")


class RemoteSettings(Section):
    """Servers that answer in place of this machine, where model.engine is "remote" (docs/remote.md)."""

    servers: Servers = Field(default=(), repr=False)  # what is refused may hold a password
    """Addresses of servers that hold the same base model, such as http://gpu-1:8000; answers are spread over them."""
    kind: Literal["vllm", "llama.cpp", "openai"] = "vllm"
    """What they run, which decides how versions get in; "openai" is any other server of that API, the base alone."""
    model: str = ""
    """Name by which the servers know the base model; empty is the first that they list."""
    adapter_path: str = ""
    """Where vLLM's servers see the folder `served` of the data folder; empty is the same path as here."""
    max_adapters: Count = 8
    """Versions that the bot keeps loaded on each of vLLM's servers; the least recently used one leaves first."""
    connect_timeout_s: Positive = 5.0
    """Seconds that a server has to take a connection, or to answer whether it is well."""
    first_token_timeout_s: Positive = 60.0
    """Seconds without a first word after which an answer is asked of another server."""
    idle_timeout_s: Positive = 20.0
    """Seconds without a further word after which an answer ends with what it has."""
    health_interval_s: Positive = 10.0
    """Seconds between two looks at a server; one that is lost is looked at sooner."""
    tokens_per_day: Annotated[int, Field(ge=0)] = 0
    """Tokens of prompts and answers after which nothing more is answered until midnight UTC; 0 is no such limit."""
    prompt_price: Annotated[float, Field(ge=0.0)] = 0.0
    """Price of a million tokens of prompts, in your currency, for /model status; 0 is none."""
    answer_price: Annotated[float, Field(ge=0.0)] = 0.0
    """Price of a million tokens of answers, in your currency, for /model status; 0 is none."""


class GenerationSettings(Section):
    """How an answer is sampled."""

    temperature: Annotated[float, Field(ge=0.0, le=5.0)] = 0.7
    """Sampling temperature; 0 is greedy."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 0.9
    """Nucleus sampling: the smallest set of tokens with this probability is kept."""
    presence_penalty: Annotated[float, Field(ge=0.0, le=2.0)] = 1.5
    """Lowers the score of tokens that the answer already holds, as in OpenAI's API; 0 is off."""
    max_new_tokens: Count = 256
    """Longest answer, in tokens."""
    timeout_s: Positive = 120.0
    """Seconds after which an unfinished answer is given up."""
    batch_size: Count = 8
    """Most answers generated together; with remote servers, by each of them."""
    queue_size: Count = 32
    """Most answers of one personality waiting; beyond it the bot says that it is busy."""


class ChatSettings(Section):
    """How the bot takes part in a conversation."""

    system_prompt: str = "You are Reactune, a friendly member of this Discord server. Answer briefly and plainly."
    """First words of every prompt of a personality whose card has none of its own."""
    cooldown_s: Annotated[float, Field(ge=0.0)] = 3.0
    """Seconds between two requests of one member."""
    history_messages: Annotated[int, Field(ge=0, le=100)] = 20
    """Earlier messages that may join a prompt."""
    edit_interval_s: Annotated[float, Field(ge=0.0)] = 1.0
    """Least seconds between two edits of a streaming message."""
    siblings_per_prompt: Count = 6
    """Most answers to one prompt, the first included."""
    drain_s: Annotated[float, Field(ge=0.0)] = 20.0
    """Seconds that shutdown waits for answers in progress."""


class PersonalitySettings(Section):
    """Who the bot can be."""

    directory: Folder = Path("personalities")
    """Folder of cards, a TOML file for each personality; a card is taken when the bot starts, and when it changes."""


class VoteSettings(Section):
    """How reactions are counted."""

    reconcile_days: Days = 7.0
    """Age in days up to which replies' reactions are re-read after a reconnect."""
    account_age_days: Days = 30.0
    """Age in days of accounts whose votes and suggestions count in full, growing from nothing; 0 is no such rule."""
    membership_days: Days = 7.0
    """Days in the server after which votes and suggestions count in full, growing from nothing; 0 is no such rule."""
    max_voter_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    """Largest share of a round that one voter carries, twice an equal one where voters are few; 1 is no such rule."""
    burst_votes: Annotated[int, Field(ge=0)] = 5
    """Same votes by new or silent accounts on one answer, author or version that are held back; 0 is no such rule."""
    burst_minutes: Positive = 60.0
    """Length of a burst, in minutes."""


class CorrectionSettings(Section):
    """Better answers that members suggest."""

    min_chars: Count = 2
    """Shortest suggested answer, in characters."""
    max_chars: Annotated[int, Field(ge=1, le=4000)] = 2000
    """Longest suggested answer, in characters (a Discord form holds 4,000)."""


class PairSettings(Section):
    """How votes and corrections become preference pairs."""

    min_probability: Annotated[float, Field(ge=0.5, lt=1.0)] = 0.8
    """Least posterior probability that the chosen one of two siblings is the better one."""
    correction_samples: Annotated[int, Field(ge=0)] = 1
    """Fresh answers that each new correction is preferred to as well (DITTO, arXiv 2406.00888); 0 is off."""
    lone_votes: bool = True
    """Complete answers that were voted on alone, by a sample that a model of all votes picks."""
    lone_vote_samples: Count = 4
    """Samples to pick from for each lone vote."""
    max_lone_votes: Annotated[int, Field(ge=0)] = 100
    """Most lone votes that a round completes, the newest; each costs its samples."""
    lone_vote_weight: Share = 0.5
    """Weight of a completed pair."""
    max_lone_vote_share: Share = 0.3
    """Largest share of a round's new pairs that are completed lone votes, where the others alone make a round."""
    min_preference_auc: Annotated[float, Field(ge=0.5, le=1.0)] = 0.6
    """Least cross-validated AUC of the model of all votes; below it lone votes are not used."""
    replay_share: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    """Share of a round that repeats pairs of earlier rounds, so that old lessons stay."""


class TrainingSettings(Section):
    """What a round trains on, and how."""

    schedule: str = "0 4 * * *"
    """Cron expression (minute hour day month weekday, UTC) of the scheduled round; empty means never."""
    min_pairs: Count = 8
    """Fewest pairs that make a round; with fewer it is skipped."""
    max_pairs: Count = 512
    """Most pairs in a round; the newest are kept."""
    holdout_share: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.15
    """Share of prompts held out of training to judge the result."""
    objective: Literal["dpo", "robust"] = "dpo"
    """DPO, or robust DPO with the voters' measured disagreement as label noise."""
    beta: Positive = 0.3
    """Strength of the pull towards the parent version (DPO, Rafailov et al. 2023, eq. 7)."""
    sft_weight: Annotated[float, Field(ge=0.0)] = 1.0
    """Weight of the likelihood term on chosen answers, which keeps answers coherent; 0 is off."""
    learning_rate: Positive = 2e-4
    """Peak learning rate of AdamW."""
    epochs: Positive = 1.0
    """Passes over the pairs."""
    patience: Annotated[int, Field(ge=0)] = 0
    """Passes without a lower loss on validation pairs after which training stops, the best one kept; 0 is off."""
    batch_size: Count = 4
    """Pairs in a training step."""
    max_tokens: Annotated[int, Field(ge=32)] = 768
    """Longest prompt plus answer, in tokens; a longer pair is left out and counted."""
    lora_rank: Count = 16
    """Rank of a new adapter."""
    lora_alpha: Positive = 32.0
    """Scale of a new adapter; its effect is alpha / rank."""
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """Number format of the frozen weights while training; "auto": bfloat16 if the machine has it."""
    quantization: Literal["", "4bit"] = ""
    """"4bit": frozen weights in four bits (QLoRA), for large models on an NVIDIA GPU with the extra `qlora`."""
    processes: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes that train together, one for each GPU of the machine; they share `batch_size`."""
    seed: Annotated[int, Field(ge=0)] = 17
    """Seed of the split, the new adapter and the order of pairs."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 1
    """CPU threads of a round; 0 leaves the choice to PyTorch."""
    niceness: Annotated[int, Field(ge=0, le=19)] = 10
    """How far a round steps back for other processes; 0 is not at all."""
    keep_versions: Annotated[int, Field(ge=0)] = 0
    """Newest versions of each personality that keep their files, beside those in use and their parents; 0 keeps all."""

    @property
    def number_format(self) -> str:
        """`dtype`, decided for this machine; PyTorch is asked only where there is a GPU."""
        return number_format(self.dtype, may_use_gpu=True)


class DemonstrationSettings(Section):
    """How a personality's first version learns from the examples on its card; the rest is as in [training]."""

    min_examples: Count = 8
    """Fewest examples that make a first version."""
    holdout_share: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    """Share of examples held out of training to judge the result."""
    learning_rate: Positive = 2e-4
    """Peak learning rate of AdamW."""
    epochs: Positive = 6.0
    """Most passes over the examples."""
    patience: Annotated[int, Field(ge=0)] = 1
    """Passes without a lower loss on validation examples after which training stops, the best one kept; 0 is off."""


class GateSettings(Section):
    """What a new version must pass before it may be promoted."""

    max_divergence: Positive = 3.0
    """Largest mean KL divergence from the base on neutral prompts, in nats per token."""
    max_degenerate_excess: Share = 0.15
    """Largest share of broken answers above the base's own share."""
    max_coherence_ratio: Annotated[float, Field(gt=1.0)] = 1.1
    """Largest loss of answers under the coherence model over that of the base's, token for token at equal positions."""
    coherence_model: str = ""
    """Judge of coherence: "gemma3-270m", a folder, a hub id or "base"; empty is Gemma if installed, else the base."""
    max_retention_ratio: Annotated[float, Field(gt=1.0)] = 1.05
    """Largest loss on the retention text over the base's."""
    max_length_ratio: Annotated[float, Field(gt=1.0)] = 3.0
    """Longest mean answer over the base's."""
    max_suite_drop: Share = 0.1
    """Largest share of a suite's cases that only the base passes, less those that only the version passes."""
    suites: Files = ()
    """Further suites beside the shipped ones: JSON-lines files of cases (docs/gate.md)."""
    min_holdout_pairs: Count = 8
    """Fewest held-out pairs from which anything is concluded."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """Confidence with which held-out pairs must prefer the version to its parent, and a suite have lost cases."""


class ReleaseSettings(Section):
    """How a version that passed the gate reaches members."""

    auto_promote: bool = False
    """Release what passes the gate without waiting for an admin."""
    canary_share: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of conversations that an automatic release answers while it is compared; 0 releases to everyone at once."""
    canary_alpha: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.05
    """Largest chance that the comparison calls one of two equally liked versions better, or worse."""
    canary_max_votes: Count = 400
    """Votes and failures of the challenger, whatever they weigh, after which a comparison is inconclusive."""
    announce_channel: Annotated[int, Field(ge=0)] = 0
    """Id of the channel in which new champions are announced; 0 is none."""


class ArenaSettings(Section):
    """Blind comparisons of answers, for members to choose from."""

    schedule: str = ""
    """Cron expression (minute hour day month weekday, UTC) of arenas; empty means that only admins start them."""
    channel: Annotated[int, Field(ge=0)] = 0
    """Id of the channel for scheduled arenas; 0 is none."""
    prompts: str = ""
    """Your prompt bank: a text file with a prompt in each line; empty is the short bank that comes along."""
    answers: Annotated[int, Field(ge=2, le=4)] = 3
    """Answers in an arena."""
    minutes: Positive = 60.0
    """How long an arena is open."""
    exploration_share: Share = 0.0
    """Share of answers in chat that come with a blind second one."""


class KnowledgeSettings(Section):
    """Facts that are looked up in a server's documents and quoted in the prompt, never trained in."""

    enabled: bool = True
    """Look questions up; off keeps the documents and quotes none."""
    roles: Ids = ()
    """Ids of roles that may use /knowledge, beside those who may use /model."""
    passages: Count = 1
    """Most passages quoted in a prompt; the bundled model is confused by more, larger ones can use three."""
    budget_tokens: Annotated[int, Field(ge=32)] = 512
    """Most tokens of a prompt that quoted text takes, its labels included."""
    min_similarity: Annotated[float, Field(ge=-1.0, le=1.0)] = 0.35
    """Least cosine similarity of a question and its best passage; below it nothing is quoted."""
    chunk_tokens: Annotated[int, Field(ge=32, le=240)] = 160
    """Longest passage, in tokens of the sentence encoder, which reads 256."""
    overlap_tokens: Annotated[int, Field(ge=0, le=64)] = 32
    """Tokens that a passage repeats from the one before, where a long paragraph had to be cut."""
    max_documents: Count = 500
    """Most documents of a server."""
    max_chunks: Count = 20_000
    """Most passages of a server; 1,000 take about 3 MB."""
    max_file_bytes: Count = 8_000_000
    """Largest attachment."""
    max_chars: Count = 1_000_000
    """Longest text of a document."""
    max_pages: Count = 1_000
    """Most pages of a PDF."""
    parse_timeout_s: Positive = 60.0
    """Seconds after which reading an attachment is given up."""


def _only_opt_in(value: Any) -> Any:
    if value != "opt_in":
        raise ValueError('set it to "opt_in", the only value: nobody\'s words are trained on unless they said so')
    return value


class LogSettings(Section):
    """What the program says about itself, and where."""

    format: Literal["human", "json"] = "human"
    """A line for people, or a JSON object on each line for a log collector."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is told."""
    file: str = ""
    """File to write to as well; each process has its own: logs/bot.log becomes logs/bot.trainer.log. Empty is none."""
    max_bytes: Count = 10_000_000
    """Size at which a file is put aside and a new one begun."""
    keep: Annotated[int, Field(ge=0)] = 5
    """Files put aside that are kept; older ones are deleted."""


class MetricsSettings(Section):
    """Numbers for Prometheus, and whether all is well, over HTTP."""

    port: Annotated[int, Field(ge=0, le=65535)] = 9108
    """Port of the bot's /metrics and /health; 0 is off. Where it is taken, the bot says so and serves without."""
    trainer_port: Annotated[int, Field(ge=0, le=65535)] = 9109
    """Port of the trainer's /metrics; 0 is off."""
    address: str = "127.0.0.1"
    """Address to listen on; the pages have no password, so keep others out of it."""

    @property
    def host(self) -> str:
        """The address as it stands in a URL."""
        return f"[{self.address}]" if ":" in self.address else self.address


class AlertSettings(Section):
    """Trouble that an admin should hear of."""

    channel: Annotated[int, Field(ge=0)] = 0
    """Id of the channel in which admins are told of trouble, once, and of its end; 0 is none, then only the log is."""
    min_free_gb: Annotated[float, Field(ge=0.0)] = 2.0
    """Free space in the data folder, in GB, below which the disk counts as low."""


class PrivacySettings(Section):
    """What may be trained on, and how long it is kept."""

    discord_training_permission: bool = False
    """You attest that Discord granted express permission to train on message content (Developer Policy, rule 21)."""
    consent: Annotated[Literal["opt_in"], BeforeValidator(_only_opt_in)] = "opt_in"
    """Whose live messages may be trained on: of members who said so. "opt_in" is the policy, and the only value."""
    retention_days: Days = 30.0
    """Days that what no version was trained on is kept, as is what is left of who or what left; 0 is for ever."""
    withdraw_adapters: Literal["keep", "when_replaced"] = "keep"
    """Files of versions that learned from data deleted since: "keep" them, or remove them "when_replaced" by others."""


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
    personalities: PersonalitySettings = PersonalitySettings()
    votes: VoteSettings = VoteSettings()
    corrections: CorrectionSettings = CorrectionSettings()
    pairs: PairSettings = PairSettings()
    training: TrainingSettings = Field(default_factory=TrainingSettings)
    demonstration: DemonstrationSettings = DemonstrationSettings()
    gate: GateSettings = GateSettings()
    release: ReleaseSettings = ReleaseSettings()
    arena: ArenaSettings = ArenaSettings()
    knowledge: KnowledgeSettings = KnowledgeSettings()
    logs: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()
    alerts: AlertSettings = AlertSettings()
    privacy: PrivacySettings = PrivacySettings()
    discord_token: SecretStr | None = Field(default=None, exclude=True)
    """The bot's token, from DISCORD_TOKEN; never from a file that is committed."""
    remote_api_key: SecretStr | None = Field(default=None, exclude=True)
    """What the servers of [remote] want to be shown, from REMOTE_API_KEY; never from a file that is committed."""

    @property
    def database_url(self) -> str:
        return self.database.url or f"sqlite:///{self.data.directory / 'reactune.db'}"


def sections() -> dict[str, type[Section]]:
    """Return the tables of config.toml by name, in order."""
    return {
        name: field.annotation
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }
