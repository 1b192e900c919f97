"""What the generator says of the kept texts, when all is written; see `run` in this package."""
