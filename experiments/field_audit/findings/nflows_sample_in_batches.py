"""nflows 0.14: sample(n, context, batch_size) joins its batches along the contexts, not the samples.
Cause: distributions/base.py:76 torch.cat(samples, dim=0). Matters: samples of the wrong context."""
import torch
from nflows.distributions import ConditionalDiagonalNormal

context = torch.tensor([[0.0, 0, 0, 0], [100.0, 100, 0, 0], [200.0, 200, 0, 0]])  # means, log sigmas
for size, word in ((5, "wrong"), (None, "right")):
    drawn = ConditionalDiagonalNormal([2]).sample(10, context, batch_size=size)
    print(word, tuple(drawn.shape), "means by row", drawn.mean((1, 2)).round().tolist())
