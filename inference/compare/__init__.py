"""Two photos of one place go in; out comes what changed beyond what light, zoom and compression explain."""
