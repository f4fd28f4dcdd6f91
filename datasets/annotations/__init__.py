"""Readings: photo files in; out comes what blind readers saw in them, cell by cell. No photo ships with them."""
