"""Convolutions at single cells give what the whole map would."""

import torch

from jointseg_core.layers import CellConv2d, per_anchor


def test_a_cell_convolution_equals_the_dense_one_at_every_cell():
    torch.manual_seed(0)
    conv = CellConv2d(5, 7)
    levels = [torch.randn(1, 5, 4, 6), torch.randn(1, 5, 2, 3), torch.randn(1, 5, 1, 1)]
    dense = per_anchor([conv(level) for level in levels], 7)[0]
    cells = torch.randperm(len(dense))
    torch.testing.assert_close(conv.at([level[0] for level in levels], cells), dense[cells])


def test_no_cells_give_no_outputs():
    assert CellConv2d(2, 3).at([torch.zeros(2, 4, 4)], torch.zeros(0, dtype=torch.long)).shape == (
        0,
        3,
    )
