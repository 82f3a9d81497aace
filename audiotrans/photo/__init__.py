"""Picture to image and back."""
