"""Labelled photos go in; near-duplicates, contradictory labels and shortcuts come out, and a page that shows them."""
