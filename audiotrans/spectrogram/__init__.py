"""Wave to image and back: files, spectra, representations and phase. A transform and its inverse share a file."""
