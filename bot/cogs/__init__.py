"""Discord's commands and events, one feature a module."""
