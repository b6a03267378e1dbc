"""Training, evaluation and prediction: what happens in time."""
