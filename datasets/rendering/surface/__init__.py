"""A piece of cheek goes in; the relief and colour of its skin, scars and blemishes come out."""
