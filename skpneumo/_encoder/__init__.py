"""Compute the features of images: each image is read, decoded and passed through the network once."""
