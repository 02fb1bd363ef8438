"""Lets `python -m reactune` run the command line."""

from reactune.app import main

main()
