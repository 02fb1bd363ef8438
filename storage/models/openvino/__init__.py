"""OpenVINO graphs of a base with an adapter: built, verified, cached."""
