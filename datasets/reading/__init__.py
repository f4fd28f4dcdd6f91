"""A file goes in, an upright RGB array comes out, or an error that says what is wrong with the file."""
