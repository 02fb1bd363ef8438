"""What bot and trainer share: settings, database, adapter files."""

from storage.telemetry import switch_off

switch_off()  # here, because every process imports this package before any library with telemetry
