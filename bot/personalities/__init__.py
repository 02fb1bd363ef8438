"""Which personality answers where, and the form to edit its card."""
