"""Learns: from votes to pairs, DPO rounds, the gate and new versions."""

import storage  # noqa: F401 (before any library: it switches their telemetry off)
