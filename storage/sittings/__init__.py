"""Sittings, in which people label pairs of answers in the console."""
