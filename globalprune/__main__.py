"""`python -m globalprune` is `gp`."""

from globalprune.cli.app import main

main()
