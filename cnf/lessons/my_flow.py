"""A conditional flow p(y|x) of your own, one class a lesson. `python -m cnf check` says what of it
is right, what is not and why, and what to write next.

The world: y (B, 1, 16, 16), labels 0 and 1, is the drawing of a stroke; x (B, 1, 4, 4) holds the
means of its four quarters. `strokes(n)` draws n pairs (y, x). h (B, num_h, H, W) are features of x
at the resolution of a layer; num_h may be 0.

A layer is called in two ways:
    layer(y, h)           what it passes on, and its term of log p(y|x): (B,), in nats
    layer.back(z, h, tau) the way back. A bijection undoes itself, a prior draws what it had scored
                          with tau times its deviation, a dequantization gives the labels
`network(channels_in, channels_out)` is a small convolutional network that keeps height and width.
Any other network will do, too.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from cnf.lessons import network, strokes


class PerPixel(nn.Module):
    """Lesson 1. Every label has a probability of its own, which a network finds from x; given x the
    labels are independent.

    log_prob(y, x): log P(y|x), (B,), in nats. sample(x): labels, (B, 1, 16, 16).
    From 4x4 to 16x16: a network of 16 channels, and F.pixel_shuffle(., 4).

    >>> y, x = strokes(5)
    >>> model = PerPixel()
    >>> model.log_prob(y, x).shape, model.sample(x).shape
    (torch.Size([5]), torch.Size([5, 1, 16, 16]))
    """

    def __init__(self):
        super().__init__()
        raise NotImplementedError("lesson 1: PerPixel")

    def log_prob(self, y, x):
        raise NotImplementedError("lesson 1: PerPixel.log_prob")

    def sample(self, x):
        raise NotImplementedError("lesson 1: PerPixel.sample")


class ActNorm(nn.Module):
    """Lesson 2. Scales and shifts every channel: z = exp(l) (y + b), with parameters l and b of
    one number a channel. It does not look at h.

    The first batch in training mode (self.training) sets l and b, so that every channel leaves with
    mean 0 and variance 1. Later batches, and batches after loading, set nothing (a buffer
    remembers); a batch in evaluation mode, which is only scored, never does.

    >>> layer = ActNorm(channels=4)
    >>> z, term = layer(torch.randn(5, 4, 8, 8), None)
    >>> z.shape, term.shape, layer.back(z, None, 1.0).shape
    (torch.Size([5, 4, 8, 8]), torch.Size([5]), torch.Size([5, 4, 8, 8]))
    """

    def __init__(self, channels):
        super().__init__()
        raise NotImplementedError("lesson 2: ActNorm")

    def forward(self, y, h):
        raise NotImplementedError("lesson 2: ActNorm.forward")

    def back(self, z, h, tau):
        raise NotImplementedError("lesson 2: ActNorm.back")


class Coupling(nn.Module):
    """Lesson 3. num_a channels pass; num_b channels are scaled and shifted, by numbers that a
    network finds from those that pass and from h. log s stays between -m and m: of what the network
    gives, raw, it is m tanh(raw / m).

    >>> layer = Coupling(num_a=2, num_b=2, num_h=3)
    >>> h = torch.randn(5, 3, 8, 8)
    >>> z, term = layer(torch.randn(5, 4, 8, 8), h)
    >>> z.shape, term.shape, layer.back(z, h, 1.0).shape
    (torch.Size([5, 4, 8, 8]), torch.Size([5]), torch.Size([5, 4, 8, 8]))
    """

    def __init__(self, num_a, num_b, num_h, m=1.5):
        super().__init__()
        raise NotImplementedError("lesson 3: Coupling")

    def forward(self, y, h):
        raise NotImplementedError("lesson 3: Coupling.forward")

    def back(self, z, h, tau):
        raise NotImplementedError("lesson 3: Coupling.back")


class Conv1x1(nn.Module):
    """Lesson 4. Multiplies the channels of every position by one matrix W, a parameter. At
    the start it is orthogonal: Q of torch.linalg.qr of a random matrix. It does not look at h.

    >>> layer = Conv1x1(channels=4)
    >>> z, term = layer(torch.randn(5, 4, 8, 8), None)
    >>> z.shape, term.shape, layer.back(z, None, 1.0).shape
    (torch.Size([5, 4, 8, 8]), torch.Size([5]), torch.Size([5, 4, 8, 8]))
    """

    def __init__(self, channels):
        super().__init__()
        raise NotImplementedError("lesson 4: Conv1x1")

    def forward(self, y, h):
        raise NotImplementedError("lesson 4: Conv1x1.forward")

    def back(self, z, h, tau):
        raise NotImplementedError("lesson 4: Conv1x1.back")


class Squeeze(nn.Module):
    """Lesson 4, too. Each block of 2x2 positions becomes four channels: F.pixel_unshuffle, and back
    F.pixel_shuffle. It does not look at h.

    >>> layer = Squeeze()
    >>> z, term = layer(torch.randn(5, 1, 16, 16), None)
    >>> z.shape, term.shape, layer.back(z, None, 1.0).shape
    (torch.Size([5, 4, 8, 8]), torch.Size([5]), torch.Size([5, 1, 16, 16]))
    """

    def forward(self, y, h):
        raise NotImplementedError("lesson 4: Squeeze.forward")

    def back(self, z, h, tau):
        raise NotImplementedError("lesson 4: Squeeze.back")


class Prior(nn.Module):
    """Lesson 5. Passes num_a channels on and scores num_b channels under a Gaussian whose mean and
    log-deviation, between -m and m, a network finds from those that pass and from h. The last prior
    of a flow passes none on: num_a = 0, kept is (B, 0, H, W). back is given kept, and puts the
    channels that it draws where those it had scored were.

    >>> layer = Prior(num_a=2, num_b=2, num_h=3)
    >>> h = torch.randn(5, 3, 8, 8)
    >>> kept, term = layer(torch.randn(5, 4, 8, 8), h)
    >>> kept.shape, term.shape, layer.back(kept, h, 1.0).shape
    (torch.Size([5, 2, 8, 8]), torch.Size([5]), torch.Size([5, 4, 8, 8]))
    """

    def __init__(self, num_a, num_b, num_h, m=6):
        super().__init__()
        raise NotImplementedError("lesson 5: Prior")

    def forward(self, y, h):
        raise NotImplementedError("lesson 5: Prior.forward")

    def back(self, z, h, tau):
        raise NotImplementedError("lesson 5: Prior.back")


class UniformDequantization(nn.Module):
    """Lesson 6. Whole numbers y of 0 to levels - 1 become v in [0, 1): uniform noise fills the cell
    of every y. The term is -log q(v|y), the same for every y. back gives y again. It does not look
    at h.

    >>> layer = UniformDequantization(levels=4)
    >>> y = torch.randint(4, (5, 1, 16, 16)).float()
    >>> v, term = layer(y, None)
    >>> v.shape, term.shape, bool((layer.back(v, None, 1.0) == y).all())
    (torch.Size([5, 1, 16, 16]), torch.Size([5]), True)
    """

    def __init__(self, levels):
        super().__init__()
        raise NotImplementedError("lesson 6: UniformDequantization")

    def forward(self, y, h):
        raise NotImplementedError("lesson 6: UniformDequantization.forward")

    def back(self, v, h, tau):
        raise NotImplementedError("lesson 6: UniformDequantization.back")


class BinaryDequantization(nn.Module):
    """Lesson 7. Labels y become v above 1/2 where y is 1, below 1/2 where y is 0: 1/2 plus or minus
    softplus(w), with w = 3 + logistic noise. The term is -log q(v|y). back gives y again. It does
    not look at h.
    Logistic noise is torch.rand_like(y).logit(eps=1e-6): rand may return 0, its logit is infinite.

    >>> layer = BinaryDequantization()
    >>> y = strokes(5)[0]
    >>> v, term = layer(y, None)
    >>> v.shape, term.shape, bool((layer.back(v, None, 1.0) == y).all())
    (torch.Size([5, 1, 16, 16]), torch.Size([5]), True)
    """

    def forward(self, y, h):
        raise NotImplementedError("lesson 7: BinaryDequantization.forward")

    def back(self, v, h, tau):
        raise NotImplementedError("lesson 7: BinaryDequantization.back")


class WeightedBernoulli(nn.Module):
    """Lesson 8. Lesson 1's model (it may be a subclass) with the weighted likelihood: the network
    gives the logit a of p, and beta makes of p the probability q of the label 1.

    log_prob(y, x): log P_beta(y|x), (B,), in nats. sample(x): labels, 1 with
    probability q.

    >>> y, x = strokes(5)
    >>> model = WeightedBernoulli(beta=0.87)
    >>> model.log_prob(y, x).shape, model.sample(x).shape
    (torch.Size([5]), torch.Size([5, 1, 16, 16]))
    """

    def __init__(self, beta):
        super().__init__()
        raise NotImplementedError("lesson 8: WeightedBernoulli")

    def log_prob(self, y, x):
        raise NotImplementedError("lesson 8: WeightedBernoulli.log_prob")

    def sample(self, x):
        raise NotImplementedError("lesson 8: WeightedBernoulli.sample")


class Flow(nn.Module):
    """Lesson 9. The whole flow: your layers in a list, and features of x for each of its levels.

    On a drawing of 1x16x16: binary dequantization; a squeeze, `steps` times (ActNorm, Conv1x1,
    Coupling) and a prior that keeps 2 of 4 channels, at 8x8; the same at 4x4, where a last prior
    keeps none of 8 channels.

    log_prob(y, x): by one draw of noise, (B,), in nats. sample(x, tau): labels (B, 1, 16, 16).

    >>> y, x = strokes(5)
    >>> flow = Flow(steps=2)
    >>> flow.log_prob(y, x).shape, flow.sample(x, tau=0.8).shape
    (torch.Size([5]), torch.Size([5, 1, 16, 16]))
    """

    def __init__(self, steps=6, num_h=8):
        super().__init__()
        raise NotImplementedError("lesson 9: Flow")

    def log_prob(self, y, x):
        raise NotImplementedError("lesson 9: Flow.log_prob")

    def sample(self, x, tau=1.0):
        raise NotImplementedError("lesson 9: Flow.sample")


class Motion(nn.Module):
    """Lesson 18. A flow in continuous time, of vectors v (B, D): the velocity u(v, t, h), a module
    that gives (B, D), carries noise (t = 0) to data (t = 1). t is (B,), h (B, num_h).

    matching_loss(v, h): the mean over rows and numbers. log_prob(v, h): (B,), in nats, by steps of
    Runge-Kutta; the divergence exact, or by a probe for each row. sample(h, tau): (B, D).

    >>> from cnf.lessons.laws.motion import Swirl
    >>> v, h = torch.randn(5, 4), torch.randn(5, 2)
    >>> flow = Motion(Swirl(), D=4)
    >>> flow.matching_loss(v, h).shape, flow.log_prob(v, h).shape, flow.sample(h, tau=0.8).shape
    (torch.Size([]), torch.Size([5]), torch.Size([5, 4]))
    """

    def __init__(self, u, D):
        super().__init__()
        raise NotImplementedError("lesson 18: Motion")

    def matching_loss(self, v, h):
        raise NotImplementedError("lesson 18: Motion.matching_loss")

    def log_prob(self, v, h, steps=20):
        raise NotImplementedError("lesson 18: Motion.log_prob")

    def sample(self, h, tau=1.0, steps=20):
        raise NotImplementedError("lesson 18: Motion.sample")
