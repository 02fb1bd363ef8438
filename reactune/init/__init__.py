"""`reactune init`: sets up a bot by asking, one step after another."""
