"""The entropy of the lessons' drawings given x, in bits per pixel, which is `cnf.lessons.TRUTH`:
`python -m tools.strokes_truth` (one minute of one core).

x is a function of y, so log P(y|x) = log P(y) - log P(x). P(x) is counted among many drawings, and
the eight symmetries of the square count together. P(y) is the volume of the curves (a, b, c) that
give the drawing y, over 15^6: a random walk that keeps the drawing finds their covariance, and
importance sampling their volume. A curve from c to a gives the same drawing: twice the volume.
Other curves that do so are not found, so the entropy comes out a little too large: of the 120
shortest strokes among 3,000, 16 were expected by these P(y) in 600,000 other drawings, and 33 were
counted, which is one bit for such a drawing, 0.004 for each of its pixels.
"""

import math
from collections import Counter

import torch
from torch import Tensor

t = torch.linspace(0, 1, 24)[:, None]
WEIGHTS = torch.cat([(1 - t) ** 2, 2 * t * (1 - t), t**2], 1)
LINE = torch.arange(16.0)
TESTED, WALK, DRAWS, COUNTED, CHUNK = 250, 300, 2_000, 1_500_000, 4_000


def render(points: Tensor) -> Tensor:
    """Drawings (n, 256) of points (n, 6): a, b and c."""
    curve = torch.einsum("tk,nkd->ntd", WEIGHTS, points.view(-1, 3, 2))
    rows, columns = ((curve[:, :, k, None] - LINE).square() for k in (0, 1))
    return ((rows[:, :, :, None] + columns[:, :, None]).amin(1) < 1.1**2).flatten(1)


def turned(a: int, b: int, c: int, d: int) -> set[tuple]:
    """The numbers of the quarters (upper left, upper right, lower left, lower right), in the orders
    of the symmetries of the square."""
    ring = (a, b, d, c)
    rings = [ring[k:] + ring[:k] for k in range(4)]
    return {r[::way] for r in rings for way in (1, -1)}


def counts(y: Tensor) -> list[tuple[int, ...]]:
    return [tuple(row) for row in y.view(-1, 2, 8, 2, 8).sum((2, 4)).flatten(1).tolist()]


def log_p_of_x(y: Tensor) -> Tensor:
    """log P(x) of drawings, by counting; psi(k) - log N is log(k / N) without most of its bias."""
    seen: Counter = Counter()
    for _ in range(COUNTED // CHUNK):
        seen.update(min(turned(*row)) for row in counts(render(15 * torch.rand(CHUNK, 6))))
    orbits = [turned(*row) for row in counts(y)]
    k = torch.tensor([float(seen[min(orbit)]) for orbit in orbits])
    print(f"an x was counted {k.median():.0f} times (median), {int(k.min())} times at least")
    sizes = torch.tensor([float(len(orbit)) for orbit in orbits])
    return torch.digamma(k.clamp(min=0.5)) - (sizes * COUNTED).log()


def walk(points: Tensor, y: Tensor) -> Tensor:
    """Where random walks that keep the drawing were, (WALK, n, 6)."""
    size, places = torch.full((len(points), 1), 0.3), []
    for _ in range(WALK):
        new = points + size * torch.randn_like(points)
        kept = ((new > 0) & (new < 15)).all(1) & (render(new) == y).all(1)
        size = size * torch.where(kept, 1.1, 0.96)[:, None]
        points = torch.where(kept[:, None], new, points)
        places.append(points)
    return torch.stack(places)


def log_p_of_y(points: Tensor, y: Tensor) -> Tensor:
    """log P(y), by importance sampling of all curves near those of the walk."""
    places = walk(points, y)[WALK // 4 :]
    found = []
    for place, label in zip(places.unbind(1), y, strict=True):
        covariance = place.T.cov() + 1e-4 * torch.eye(6)
        law = torch.distributions.MultivariateNormal(place.mean(0), 3 * covariance)
        drawn = law.sample((DRAWS,))
        hit = ((drawn > 0) & (drawn < 15)).all(1) & (render(drawn) == label).all(1)
        weights = torch.where(hit, (-law.log_prob(drawn)).exp(), 0.0)
        found.append(2 * weights.mean() / 15**6)
    return torch.stack(found).log()


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    points = 15 * torch.rand(TESTED, 6)
    y = render(points)
    bits = -(log_p_of_y(points, y) - log_p_of_x(y)) / (256 * math.log(2))
    error = bits.std() / TESTED**0.5
    print(f"{bits.mean():.4f} bits per pixel, standard error {error:.4f}")


if __name__ == "__main__":
    main()
