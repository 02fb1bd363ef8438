"""Arenas: several blind answers to one prompt, which members pick from."""
