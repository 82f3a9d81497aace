"""Laws that hold for every input, drawn by hypothesis."""
