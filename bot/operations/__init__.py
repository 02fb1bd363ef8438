"""Health, metrics and alerts for operators."""
