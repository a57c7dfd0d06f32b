"""Heads on features, in numpy: what is trained, and what else is known of the features of training images."""
