"""From arrays to scores."""
