"""The bot: the Discord client, its cogs and the engine that answers."""

import storage  # noqa: F401 (before any library: it switches their telemetry off)
