"""Secrets and personal data in documents, looked for before any of it reaches a prompt.

`secrets` and `personal` find places in a text and know nothing of documents; `run` decides what
becomes of the documents. What is found is told by its place, never by its text.
"""
