"""A fictional world, a writer and a small student: the whole method on a laptop, with known truth.

It plays the parts that a user brings (documents, questions, a generator, a student), so no stage
knows of it.
"""
