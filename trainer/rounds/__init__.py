"""Rounds: claimed, run in their own process, and published."""
