"""The command line. It is the only package that imports both the bot and the trainer."""
