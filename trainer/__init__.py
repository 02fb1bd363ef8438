"""The learning process: rounds turn votes into pairs, train adapters on them, and judge the new versions."""

import storage  # noqa: F401 (before any library: it switches their telemetry off)
