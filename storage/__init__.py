"""The floor that bot and trainer share: settings, database, adapter files."""
