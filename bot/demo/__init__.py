"""The bot in a local browser page, with a simulated server and community."""
