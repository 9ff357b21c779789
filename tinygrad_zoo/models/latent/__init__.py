"""Models of what an image is made from: a few numbers or codes, inferred from it, of which it is drawn again."""

from .categorical_vae import CategoricalVAE
from .code_prior import CodePrior
from .cvae import CVAE
from .vae import VAE, BernoulliLikelihood, GaussianLikelihood
from .vqvae import VQVAE

__all__ = ["CVAE", "VAE", "VQVAE", "BernoulliLikelihood", "CategoricalVAE", "CodePrior", "GaussianLikelihood"]
