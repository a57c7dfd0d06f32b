"""What any module may need and nothing of this project shapes: progress, callbacks, small caches, links to documentation."""
