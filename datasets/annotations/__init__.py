"""A photo's sha256 goes in; out comes what blind readers saw in it, cell by cell. No photos are included."""
