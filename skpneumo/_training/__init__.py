"""A fit: its checks, the data it begins with, what is held out, the head and the layers that are trained."""
