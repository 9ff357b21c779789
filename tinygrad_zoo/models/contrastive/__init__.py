"""Estimates that come from telling what belongs together from what does not."""
