"""The picture of `/model report`."""
