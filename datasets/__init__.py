"""From files to arrays: the ground floor, which imports nothing else of the project."""
