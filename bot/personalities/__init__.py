"""Personalities: their choice in commands and channels, and the form to edit their cards."""
