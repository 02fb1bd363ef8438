"""What every process needs: logs, redaction, heartbeats, schedules, shards."""
