"""Texts for Discord and the terminal: descriptions, sanitizing, splitting."""
