"""VGG19: its layers, its weights and the frozen forward pass."""
