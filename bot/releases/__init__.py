"""Which version answers now, and what follows when that changes."""
