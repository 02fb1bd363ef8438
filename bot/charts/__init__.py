"""The pictures of `/version report` and `/taste`."""
