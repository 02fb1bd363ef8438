"""Personalities, their cards, and the places they are bound to."""
