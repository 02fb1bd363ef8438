"""Checks around every command and message: access, rate limits, the audit trail, errors."""
