"""The audit trail, alerts, the outbox, and the token costs of remote servers."""
