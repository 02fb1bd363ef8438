"""The bot's commands, a module for each word of the command line; reactune.py puts them together."""
