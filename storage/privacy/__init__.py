"""Consent, whose a row is, deletion, retention, and the data of one member."""
