"""Scores and labels go in; figures, calibration, reports and the model card come out."""
