"""Helpers that do not depend on images or models: progress, callbacks, an LRU cache and documentation links."""
