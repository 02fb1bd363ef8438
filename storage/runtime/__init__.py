"""Needed by every process: logs, redaction, heartbeats, schedules, shards."""
