"""Settings: `sections` has every setting with its type, `loading` reads them from files and the environment."""
