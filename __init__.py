"""Tell ice pick, boxcar and rolling acne scars apart, honestly: `scarlens.predict("cheek.jpg")`.

Information, not a diagnosis.
"""
