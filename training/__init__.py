"""Labelled photos go in, a checkpoint and its figures come out. Only the command line imports this package."""
