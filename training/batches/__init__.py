"""Labelled photos go in, augmented batches with what each position should say come out."""
