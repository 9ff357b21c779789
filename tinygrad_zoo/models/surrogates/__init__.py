"""Smooth stand-ins for what has no derivative, trained on, and what it costs to train on something else."""
