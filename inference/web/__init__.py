"""Photos dropped on a local page, or sent over HTTP, go in; answers come out, computed on this machine."""
