"""What is made of predictions: scores, intervals, calibration, files, pictures."""
