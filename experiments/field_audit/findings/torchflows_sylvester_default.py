"""torchflows 1.2.1: HouseholderSylvester fails with its default m, half the dimensions.
Cause: matrix/orthogonal.py:26 multiplies vectors of m with reflections of D (sylvester.py: compute_u). Matters: raises."""
import torch
from torchflows.bijections.finite.residual.sylvester import HouseholderSylvester

for m, word in ((None, "wrong"), (4, "right")):
    try:
        print(word, HouseholderSylvester((4,), m=m).inverse(torch.randn(1, 4))[0].shape)
    except RuntimeError as error:
        print(word, str(error)[:100])
