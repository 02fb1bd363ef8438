"""The audit trail, alerts, the outbox, and what remote servers cost."""
