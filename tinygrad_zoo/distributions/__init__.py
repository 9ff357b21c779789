"""Probability distributions: densities and samples that gradients flow through."""

from .base import Distribution, Independent
from .continuous import Gumbel, Laplace, Logistic, Uniform
from .discrete import Bernoulli, Categorical, OneHotCategorical
from .gamma import Beta, Dirichlet, Gamma
from .kl import kl_divergence, register_kl
from .mixture import MixtureSameFamily
from .normal import MultivariateNormal, Normal
from .relaxed import LogitRelaxedBernoulli, RelaxedBernoulli, RelaxedOneHotCategorical

__all__ = [
    "Bernoulli",
    "Beta",
    "Categorical",
    "Dirichlet",
    "Distribution",
    "Gamma",
    "Gumbel",
    "Independent",
    "Laplace",
    "LogitRelaxedBernoulli",
    "Logistic",
    "MixtureSameFamily",
    "MultivariateNormal",
    "Normal",
    "OneHotCategorical",
    "RelaxedBernoulli",
    "RelaxedOneHotCategorical",
    "Uniform",
    "kl_divergence",
    "register_kl",
]
