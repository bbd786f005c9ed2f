"""Who belongs to whom: pairs that are worth most together."""

from __future__ import annotations

import numpy as np


def assign(worth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of rows and columns that are worth most together, each row and column once at most.

    worth: float [N, M]; pairs worth 0 or less are left out. Returns the rows, ascending, and their
    columns, int [P] each. The Hungarian method by shortest augmenting paths (Jonker and Volgenant,
    1987), for those rows alone whose column is contested.
    """
    likes = worth > 0
    rows, columns = likes.nonzero()
    alone = (likes.sum(1)[rows] == 1) & (likes.sum(0)[columns] == 1)
    contested = np.unique(rows[~alone]), np.unique(columns[~alone])
    if len(contested[0]):
        own, theirs = _hungarian(worth[np.ix_(*contested)].clip(0))
        more = contested[0][own], contested[1][theirs]
        rows, columns = (
            np.concatenate([one[alone], other])
            for one, other in zip((rows, columns), more, strict=True)
        )
        order = np.argsort(rows)
        rows, columns = rows[order], columns[order]
    kept = likes[rows, columns]
    return rows[kept], columns[kept]


def _hungarian(worth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every row or every column paired so that the worth, 0 or more, is greatest."""
    if len(worth) > worth.shape[1]:
        columns, rows = _hungarian(worth.T)
        return rows, columns
    cost = worth.max() - worth
    count, width = cost.shape
    row_price, column_price = np.zeros(count), np.zeros(width)
    owner = np.full(width, -1)  # the row of each column
    for start in range(count):
        shortest = np.full(width, np.inf)  # from `start` to each column, in reduced costs
        came_from = np.full(width, -1)  # the column before, on that path
        done = np.zeros(width, bool)
        row, column, so_far = start, -1, 0.0
        while row >= 0:
            reach = so_far + cost[row] - row_price[row] - column_price
            better = ~done & (reach < shortest)
            shortest[better], came_from[better] = reach[better], column
            column = int(np.where(done, np.inf, shortest).argmin())
            so_far, done[column] = shortest[column], True
            row = int(owner[column])
        settled = done & (owner >= 0)
        row_price[start] += so_far
        row_price[owner[settled]] += so_far - shortest[settled]
        column_price[done] -= so_far - shortest[done]
        while column >= 0:  # hand the columns of the path on, back to the start
            before = came_from[column]
            owner[column] = start if before < 0 else owner[before]
            column = int(before)
    taken = (owner >= 0).nonzero()[0]
    return owner[taken], taken
