"""Treatments that the five documents name for each scar type, with cautions for the person."""
