"""Image to image: AVB-GTN, its networks and its losses. Knows nothing of sound or photographs."""
