"""Labelled photos go in, augmented batches with the target of every position come out."""
