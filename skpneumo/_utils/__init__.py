"""Helpers that do not depend on images or models, such as progress, callbacks, messages and an LRU cache."""
