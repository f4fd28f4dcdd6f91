"""Photo files and labels go in, arrays come out. The lowest layer: it imports nothing else from this project."""
