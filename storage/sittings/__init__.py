"""People's teaching in the console: sittings, in which they label pairs of answers, and talks."""
