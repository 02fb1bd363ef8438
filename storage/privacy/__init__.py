"""Consent, members' notes, deletion, retention, and the data of one member."""
