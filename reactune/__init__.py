"""The command line: it composes bot and trainer, and it alone may import both."""
