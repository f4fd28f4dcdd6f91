"""Bytes or a template go in; a complete file comes out, or none."""
