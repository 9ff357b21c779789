"""Stochastic approximation: means, roots and minima from noisy observations."""
