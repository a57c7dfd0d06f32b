"""The encoder: from images to features, each image read, decoded and passed through the network once."""
