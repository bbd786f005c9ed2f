"""Batch norms folded into the convolutions before them: the same outputs in fewer operations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.ops import FrozenBatchNorm2d


class FoldsItself(nn.Module, ABC):
    """A module whose norms do not lie just behind their convolutions."""

    @abstractmethod
    def fold_batch_norms(self) -> None:
        """As the function of that name, for this module's own norms."""


def fold_batch_norms(model: nn.Module) -> None:
    """Fold every batch norm, with its stored statistics, into the convolution just before it.

    Just before it means: the child before it of the same module, as in an `nn.Sequential`. The
    convolution is replaced, not changed: one that several modules hold, each with a norm of its
    own, becomes one for each. The model is for inference from then on.
    """
    for parent in list(model.modules()):
        if isinstance(parent, FoldsItself):
            parent.fold_batch_norms()
        # not named_children, which leaves out what it has seen
        for (before, conv), (name, norm) in pairwise(list(parent._modules.items())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d | FrozenBatchNorm2d):
                setattr(parent, before, fuse_conv_bn_eval(conv.eval(), norm.eval()))
                setattr(parent, name, nn.Identity())
