"""`reactune doctor`: checks of settings, machine, database, models and Discord."""
