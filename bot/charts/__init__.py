"""The picture of `/model report`: `report` places the panels of `votes` and `rounds` on the page of `frame`."""
