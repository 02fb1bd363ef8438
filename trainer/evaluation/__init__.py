"""Measures of a new version, and the gate that judges them."""
