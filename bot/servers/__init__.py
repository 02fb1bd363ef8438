"""Servers: what their admins chose, the guided `/setup`, and the permissions that the bot needs."""
