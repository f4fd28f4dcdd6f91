"""Arrays go in, scores come out."""
