"""Adapter files: folders named by their digest, kept on this machine and in shared stores."""
