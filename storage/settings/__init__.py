"""Settings: `sections` defines them, `loading` reads them from files and the environment."""
