"""The pictures of the report and `/taste`."""
