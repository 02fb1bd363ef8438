"""The pictures of `/model report` and `/taste`."""
