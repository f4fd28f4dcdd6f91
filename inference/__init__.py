"""Photos and a checkpoint go in, answers come out: predictions, overlays, treatment plans, tables, a page."""
