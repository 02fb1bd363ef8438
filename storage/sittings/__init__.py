"""Sittings, in which people compare pairs of answers (`/choose` and the console), and talks of the playground."""
