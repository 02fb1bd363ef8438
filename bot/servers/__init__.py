"""Servers: their admins' choices, the guided `/setup`, and the permissions that the bot needs."""
