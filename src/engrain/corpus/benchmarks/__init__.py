"""Loaders of public benchmarks in their own formats: one file each, chosen by `corpus.format`."""
