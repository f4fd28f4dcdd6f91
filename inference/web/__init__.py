"""The local page and its HTTP API, `scarlens serve`: a photo dropped in a browser, answered on this machine."""
