"""Feature store: features on disk, keyed by image content, and leases on features that are being computed."""
