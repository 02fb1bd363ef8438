"""The report as a picture: each module draws the panels of its name in one frame, and `report` puts them together."""
