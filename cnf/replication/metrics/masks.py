"""What metrics of vessels share: masks and marginals of a model, computed once, and their counts
inside the field of view.

Samples are at temperature 1 and not processed further. The likeliest sample is the one with the
largest log P(sample | x), by the model's own bound. The mask of the point estimate is where the
marginal is at least 1/2."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cnf.errors import DataError
from cnf.replication.measures import Setting
from cnf.replication.metrics import calibration, overlap, shapes
from cnf.replication.scored.model import ScoredModel, computed_once

LIKELIEST = 16  # samples from which the likeliest is taken
LIKELIEST_DRAW = -3000  # the `draw` of the noise of the bounds of samples


class Scores(NamedTuple):
    """Scores of the first LIKELIEST samples of one picture.

    outcomes: true positives, false positives, false negatives, (m,3).
    log_probs: log P(sample|x), nats, (m,).
    """

    outcomes: np.ndarray
    log_probs: np.ndarray


class Masks:
    """What metrics share: the masks that a model or a reference answers with, and their shapes."""

    def __init__(self, scored: ScoredModel):
        self.scored = scored

    # samples at temperature 1

    @computed_once
    def packed_samples(self, n: int) -> list[np.ndarray]:
        """n samples of every picture, packed into bits, uint8 (n, H, W / 8 rounded up)."""
        draws = self.scored.draw_samples(1.0, n)  # uint8 (n,1,H,W)
        return [np.packbits(samples[:, 0].numpy() > 0, axis=-1) for _, _, samples in draws]

    def samples(self, n: int) -> Iterator[np.ndarray]:
        """n samples of each picture, bool (n,H,W)."""
        m = self.scored
        for index, packed in zip(m.indices, self.packed_samples(n), strict=True):
            width = m.images[index].y.shape[-1]
            yield np.unpackbits(packed, axis=-1, count=width).astype(bool)

    @computed_once
    def shapes(self, n: int) -> list[np.ndarray]:
        """`shapes.Shape` of each of n samples, an array (n,4) for each picture."""
        by_picture = []
        for index, masks in zip(self.scored.indices, self.samples(n), strict=True):
            fov, circle = self.scored.fov(index), self.circle(index)
            by_picture.append(np.array([shapes.shape(mask, fov, circle) for mask in masks], float))
        return by_picture

    @computed_once
    def scores(self, n: int) -> list[Scores]:
        """Scores of the first LIKELIEST of n samples of each picture."""
        m, by_picture = self.scored, []
        for index, masks in zip(m.indices, self.samples(n), strict=True):
            first = masks[:LIKELIEST]
            outcomes = overlap.outcomes(first[:, m.fov(index)], m.mask(index)[m.fov(index)])
            y = torch.from_numpy(first[:, None])
            by_picture.append(Scores(outcomes, m.mask_log_probs(index, y, LIKELIEST_DRAW)))
        return by_picture

    def likeliest(self, n: int) -> np.ndarray:
        """Outcomes of the most likely of the first LIKELIEST of n samples, (N,3)."""
        return np.array([scores.outcomes[np.argmax(scores.log_probs)] for scores in self.scores(n)])

    @computed_once
    def joint(self, n: int, name: str) -> calibration.Joint:
        """How well one field of `shapes.Shape` of n samples agrees with that of the truth."""
        truth = np.array([measures[name] for measures in self.true_shapes()])
        return calibration.joint(
            self.measure_of_samples(n, name), truth, seed=self.scored.options.seed
        )

    def measure_of_samples(self, n: int, name: str) -> np.ndarray:
        """One field of `shapes.Shape` of n samples of each picture, (N, n)."""
        column = shapes.Shape._fields.index(name)
        return np.array([of_picture[:, column] for of_picture in self.shapes(n)])

    # marginals, and one mask for each picture

    @computed_once
    def marginals(self, n: int) -> list[Tensor]:
        """Probabilities of vessel for each picture, (1,H,W): the model's own, or those of n
        samples."""
        if self.scored.has_mean:
            return self.scored.means(0)
        sums = (masks.sum(0, dtype=np.float32) for masks in self.samples(n))
        return [torch.from_numpy(total / n)[None] for total in sums]

    def halves(self, n: int) -> tuple[list[Tensor], list[Tensor]]:
        """`marginals` of the first and of the second half of n samples; the model's own twice."""
        if self.scored.has_mean:
            return self.marginals(n), self.marginals(n)
        first, second = [], []
        for masks in self.samples(n):
            first.append(torch.from_numpy(masks[: n // 2].mean(0, dtype=np.float32))[None])
            second.append(torch.from_numpy(masks[n // 2 :].mean(0, dtype=np.float32))[None])
        return first, second

    def held_out(self, n: int, j: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Sample j of n as labels, and the marginals of the others (or the model's own), inside the
        field of view: two lists of an array a picture."""
        m, labels, probabilities = self.scored, [], []
        for index, samples, p in zip(m.indices, self.samples(n), self.marginals(n), strict=True):
            fov, p = m.fov(index), p[0].numpy().astype(float)
            if not m.has_mean:
                p = (n * p - samples[j]) / (n - 1)
            labels.append(samples[j][fov])
            probabilities.append(p[fov].clip(0, 1))
        return labels, probabilities

    def answers(self, s: Setting) -> list[Tensor]:
        """What a setting asks for, (1,H,W) for each picture: a reference's answer, one sample, or
        the marginals. Raises DataError without an answer."""
        answers = self.answers_if_any(s)
        if answers is None:
            raise DataError(f"{self.scored.images.name} has no {self.scored.reference}")
        return answers

    def answers_if_any(self, s: Setting) -> list[Tensor] | None:
        """`answers`; None without them."""
        if self.scored.reference is not None:
            return self.scored.reference_answers()
        if s.samples == 1:
            return self.scored.single_samples(s.temperature)
        return self.marginals(s.samples)

    @computed_once
    def shapes_of_answers(self, s: Setting) -> list[dict[str, float]] | None:
        """`shapes.Shape`, for each picture, of the mask that a setting asks for:
        marginals become a mask at 1/2. None without an answer."""
        answers = self.answers_if_any(s)
        return None if answers is None else self.shapes_of([p >= 0.5 for p in answers])

    @computed_once
    def true_shapes(self) -> list[dict[str, float]]:
        """`shapes.Shape` of y for each picture."""
        return self.shapes_of([self.scored.images[i].y for i in self.scored.indices])

    def shapes_of(self, masks: Sequence[Tensor]) -> list[dict[str, float]]:
        by_picture = []
        for index, mask in zip(self.scored.indices, masks, strict=True):
            mask, fov = np.asarray(mask)[0] > 0, self.scored.fov(index)
            by_picture.append(shapes.shape(mask, fov, self.circle(index))._asdict())
        return by_picture

    @computed_once
    def circle(self, index: int) -> np.ndarray:
        """The circle around the optic disc in the photograph."""
        fov, pixels = self.scored.fov(index), self.scored.images[index].x.permute(1, 2, 0).numpy()
        return shapes.circle_around(shapes.disc(pixels, fov), fov)

    @computed_once
    def histogram(self, s: Setting) -> np.ndarray:
        """`overlap.histogram` of the marginals."""
        return overlap.histogram(*split(self.scored, self.answers(s)))

    @computed_once
    def reliability(self, s: Setting) -> np.ndarray | None:
        """`calibration.table` of the marginals; None if no marginal lies in its range."""
        y, p = split(self.scored, self.answers(s))
        return calibration.table(p, y) if any(map(calibration.is_doubtful, p)) else None


def split(m: ScoredModel, maps: Sequence[Tensor]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Labels, bool, and probabilities inside the field of view: two lists of an array an image."""
    labels = [m.mask(i)[m.fov(i)] for i in m.indices]
    return labels, [p[0].numpy()[m.fov(i)] for i, p in zip(m.indices, maps, strict=True)]


def pooled(m: ScoredModel, maps: Sequence[Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """Labels, bool, and probabilities of all pixels in the field of view."""
    labels, p = map(np.concatenate, split(m, maps))
    if labels.all() or not labels.any():
        raise DataError(f"{m.images.name}: labels are all alike, F and ROC are undefined")
    return labels, p


def counts(m: ScoredModel, maps: Sequence[Tensor], threshold: float) -> np.ndarray:
    """(N, 3): true positives, false positives, false negatives inside the field of view."""
    pairs = zip(*split(m, maps), strict=True)
    return np.array([overlap.outcomes(p >= threshold, labels) for labels, p in pairs])
