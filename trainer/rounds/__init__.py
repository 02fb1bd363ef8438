"""Rounds: claimed, run in their own process, published."""
