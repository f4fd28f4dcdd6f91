"""Two photos of one place go in; out comes what changed beyond what brightness, zoom and compression explain."""
