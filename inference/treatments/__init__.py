"""Scar types go in; what the documents say about treating them comes out, with cautions for a person."""
