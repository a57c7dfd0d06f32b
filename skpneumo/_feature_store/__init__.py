"""The feature store: rows on disk by the content of an image, and leases on what is being computed."""
