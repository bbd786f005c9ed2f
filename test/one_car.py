"""A picture that a network learns by heart."""

import torch

from jointseg_core import Target

SIZE = (64, 128)


def picture():
    """A bright car (thing 2) on a road under a grey sky."""
    images = torch.zeros(1, 3, *SIZE)
    images[0, :, :20] = 1.0
    images[0, 0, 16:48, 40:88] = 3.0
    masks = torch.zeros(1, *SIZE, dtype=torch.bool)
    masks[0, 16:48, 40:88] = True
    semantic = torch.zeros(SIZE, dtype=torch.long)
    semantic[:20] = 10
    semantic[masks[0]] = 13
    semantic[60:] = 255
    return images, Target(torch.tensor([[40.0, 16, 88, 48]]), torch.tensor([2]), masks, semantic)
