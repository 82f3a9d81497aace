"""Convert recordings of any length with a trained model, shipped or your own."""
