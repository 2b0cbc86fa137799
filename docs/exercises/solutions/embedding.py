"""Looking up rows of a table.

The same id may stand in many places. ids get no gradient: None.
"""
import numpy as np


def forward(ids, weight):
    return weight[ids]


def vjp(g, ids, weight):
    dweight = np.zeros_like(weight)
    np.add.at(dweight, ids, g)
    return None, dweight
