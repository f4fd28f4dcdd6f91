"""Photo files and labels go in, arrays come out. The ground floor: it imports nothing else from this project."""
