"""Training: checks of the input, validation split, fit of the head and fine-tuning."""
