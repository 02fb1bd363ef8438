"""Versions: promoting them, comparing them by people's choices, and announcing them."""
