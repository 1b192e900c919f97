"""A trained student as a folder for others: weights, tokenizer, and a card that says how it came.

`model` writes the files that servers load, `lineage` finds the artifacts behind a checkpoint,
`card` describes them, `folder` puts it all in place at once; `run.export` joins them. What is
written holds no document and no path, and nothing of the run's own files.
"""
