"""Text, bytes or a template go in, a whole file comes out or none."""
