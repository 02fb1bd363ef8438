"""Consent, the owner of each row, deletion, retention, and one member's data."""
