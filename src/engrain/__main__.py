"""`python -m engrain`: the command line, for launchers that start a Python module (torchrun)."""

from engrain.cli.main import main

if __name__ == "__main__":
    main()
