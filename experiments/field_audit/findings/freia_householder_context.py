"""FrEIA 0.2: a conditional HouseholderPerm fails on a batch of more than one.
Cause: modules/orthogonal.py:222, x.mm(W) with a W for each row. Matters: raises."""
import torch
from FrEIA.modules import HouseholderPerm

layer = HouseholderPerm([(4,)], [(8,)], n_reflections=2)
try:
    print("right", layer([torch.randn(5, 4)], c=[torch.randn(5, 8)])[0][0].shape)
except RuntimeError as error:
    print("wrong", error, "right", (5, 4))
