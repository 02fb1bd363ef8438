"""What operators watch: health, metrics and alerts."""
