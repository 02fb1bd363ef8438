"""Talks: the Discord client, its cogs and the engine that answers."""
