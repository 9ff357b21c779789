"""Losses of a prediction and its target, of torch.nn's names; their formulas are those of the op named.

`reduction` is 'mean', 'sum' or 'none'. A setting out of its limits is refused when the loss is made.
"""

from __future__ import annotations

from typing import Any

from .. import ops
from ..nn.op_module import OpModule
from ..ops.loss_reduction import check_settings


class Loss(OpModule):
    """A module of one loss.

    >>> import tinygrad_zoo as tz
    >>> MSELoss(reduction="sum")(tz.tensor([1.0, 2.0]), tz.tensor([1.0, 4.0])).item()
    4.0
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        check_settings(self.op.__name__, type(self).__name__, **{name: getattr(self, name) for name in self.arguments})


# ---- of real values; a weight a value may follow the target
class MSELoss(Loss, op=ops.mse_loss, arguments="reduction"): ...


class L1Loss(Loss, op=ops.l1_loss, arguments="reduction"): ...


class SmoothL1Loss(Loss, op=ops.smooth_l1_loss): ...


class HuberLoss(Loss, op=ops.huber_loss, arguments="reduction delta"): ...


class GaussianNLLLoss(Loss, op=ops.gaussian_nll_loss): ...


class PoissonNLLLoss(Loss, op=ops.poisson_nll_loss): ...


# ---- of classes; a weight a class is given once
class CrossEntropyLoss(Loss, op=ops.cross_entropy): ...


class NLLLoss(Loss, op=ops.nll_loss): ...


class MultiMarginLoss(Loss, op=ops.multi_margin_loss, arguments="p margin weight reduction"): ...


# ---- of probabilities
class BCELoss(Loss, op=ops.binary_cross_entropy): ...


class BCEWithLogitsLoss(Loss, op=ops.binary_cross_entropy_with_logits, arguments="weight reduction pos_weight"): ...


class MultiLabelSoftMarginLoss(Loss, op=ops.multilabel_soft_margin_loss): ...


class KLDivLoss(Loss, op=ops.kl_div): ...


# ---- of scores and distances with a margin
class HingeLoss(Loss, op=ops.hinge_loss): ...


class SoftMarginLoss(Loss, op=ops.soft_margin_loss): ...


class HingeEmbeddingLoss(Loss, op=ops.hinge_embedding_loss): ...


class MarginRankingLoss(Loss, op=ops.margin_ranking_loss): ...


class TripletMarginLoss(Loss, op=ops.triplet_margin_loss): ...


class CosineEmbeddingLoss(Loss, op=ops.cosine_embedding_loss): ...
