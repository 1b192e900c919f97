"""The command line: one file per verb, and the terminal's display."""
