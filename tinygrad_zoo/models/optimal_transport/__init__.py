"""Plans and potentials learnt by gradients, beside the exact ones."""
