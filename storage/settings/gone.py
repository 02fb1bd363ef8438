"""Settings that files may no longer have, and what holds in their place: the start names each with its remedy."""

from __future__ import annotations

from collections.abc import Mapping


def _always(values: Mapping[str, str]) -> dict[str, str]:
    return {name: f"delete it ({value})" for name, value in values.items()}


GONE: Mapping[str, str] = {
    "remote.servers": "set remote.url to one address; several servers need a router before them (docs/remote.md)",
    "pictures.server": "call it pictures.url",
    "voice.server": "call it voice.url",
} | _always(
    {
        "release.canary_share": "while a version waits, three answers in ten come as blind pairs by themselves",
        "release.canary_days": "while a version waits, three answers in ten come as blind pairs by themselves",
        "remote.health_interval_s": "a server that fails an answer is checked at once",
        "training.objective": "rounds train by DPO",
        "votes.weak": "🔁 counts as a third of a 👎, and nothing else that members write counts",
        "data.adapter_cache_bytes": "4 GB",
        "database.busy_timeout_s": "30 seconds, or what the address says: sqlite:///file.db?timeout=60",
        "database.pool_overflow": "twice database.pool_size",
        "database.pool_timeout_s": "30 seconds",
        "database.pool_recycle_s": "half an hour",
        "database.lock_timeout_s": "30 seconds, or what the address says: ?options=-c%20lock_timeout%3D60s",
        "database.idle_transaction_timeout_s": "5 minutes",
        "database.retry_s": "30 seconds",
        "discord.free_response_channels": 'chat.channel_rules = { 1201 = "always" } says the same',
        "limits.member_per_hour": "12 times limits.member_per_minute",
        "limits.channel_per_hour": "20 times limits.channel_per_minute",
        "limits.server_per_hour": "25 times limits.server_per_minute",
        "limits.server_per_minute": "four times limits.channel_per_minute",
        "metrics.trainer_port": "the port after metrics.port; without metrics.port there are no metrics",
        "chat.history_messages": "20, as far as they fit into model.context_tokens",
        "knowledge.max_documents": "500",
        "knowledge.max_chunks": "20,000",
        "remote.max_adapters": "model.resident_adapters",
        "remote.idle_timeout_s": "a third of remote.first_token_timeout_s",
        "arena.answers": "3, or what /arena start says",
        "arena.minutes": "an hour, or what /arena start says",
        "knowledge.max_pages": "1,000",
        "knowledge.max_chars": "1,000,000",
        "knowledge.parse_timeout_s": "60 seconds",
        "chat.siblings_per_prompt": "6",
        "attachments.max_files": "4",
        "attachments.max_chars": "4,000",
        "pictures.max_pixels": "40 million",
        "pictures.max_tokens": "300",
        "voice.max_seconds": "5 minutes",
        "votes.reconcile_days": "7 days",
        "corrections.min_chars": "2",
        "corrections.max_chars": "2,000",
        "training.warmup_share": "0.1",
        "training.lora_alpha": "twice training.lora_rank",
        "demonstration.validation_share": "0.2",
        "demonstration.learning_rate": "training.learning_rate",
        "demonstration.patience": "training.patience",
        "gate.confidence": "0.95",
        "knowledge.chunk_tokens": "160",
        "knowledge.overlap_tokens": "32",
        "demonstration.min_examples": "8",
        "demonstration.epochs": "6",
        "discord.translations": "the folder locales",
        "logs.max_bytes": "10 MB",
        "logs.keep": "5",
        "discord.sync_commands": "commands are registered at every start",
        "remote.connect_timeout_s": "5 seconds",
        "generation.queue_size": "32 for each personality",
        "generation.exploration": "0.15",
        "chat.edit_interval_s": "1 second",
        "votes.burst_minutes": "60 minutes",
        "pairs.ranked_answers": "8",
        "pairs.min_probability": "0.6",
        "training.sft_weight": "1",
        "training.min_steps": "48",
        "training.patience": "1",
        "training.seed": "17",
        "training.niceness": "10",
        "knowledge.budget_tokens": "512",
        "privacy.consent": "only what members agreed to is trained on",
        **{
            f"gate.{old}": f"gate.tolerance = {{ {check} = … }} has it"
            for old, check in (
                ("max_divergence", "divergence"),
                ("max_degenerate_excess", "broken"),
                ("max_alike_excess", "variety"),
                ("max_coherence_ratio", "coherence"),
                ("max_retention_ratio", "retention"),
                ("max_length_ratio", "length"),
                ("max_overshoot", "overshoot"),
                ("max_suite_drop", "suites"),
            )
        },
    }
)
