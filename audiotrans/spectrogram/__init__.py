"""Wave <-> image: the STFT, representations, phase methods and vibrato. A transform and its inverse share a file."""
