"""Training scripts and measurement; nothing imports this package but the command line."""
