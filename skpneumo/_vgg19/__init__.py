"""VGG19: layers, weights and the frozen forward pass."""
