"""Character cards of SillyTavern, versions 1 to 3, in JSON and PNG files: read as cards of ours, and written."""
