"""Model the relief and colour of skin, scars and blemishes on a cheek."""
