"""`python -m engrain`: the command line, where its script is not on the path."""

from engrain.cli.main import main

main()
