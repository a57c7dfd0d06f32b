"""Images: what a user may pass, where its bytes come from, and how it becomes a square of gray values."""
