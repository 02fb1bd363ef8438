"""Consent, deletion, retention, and the data of one member."""
