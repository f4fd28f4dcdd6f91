"""From scores to answers."""
