"""The settings: typed sections, and how they are read."""
