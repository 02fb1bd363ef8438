"""Runs the command line as `python -m reactune`."""

from reactune.app import main

main()
