"""Heads on features, and what else is computed from features: resampling, domain adaptation and novelty."""
