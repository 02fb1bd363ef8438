"""Texts and buttons for members about their data."""
