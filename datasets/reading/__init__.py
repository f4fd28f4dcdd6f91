"""Read image files into upright RGB arrays, or raise an error that says what is wrong with the file."""
