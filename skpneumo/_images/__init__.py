"""Images: input validation, reading, decoding and preprocessing."""
