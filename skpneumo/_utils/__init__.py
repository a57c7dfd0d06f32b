"""Helpers that know nothing of images or models: progress, callbacks, an LRU cache, links to documentation."""
