import numpy as np
import pytest
import torch
from PIL import Image

from cnf import resample
from cnf.layers.subbands import Subbands, bands
from cnf.resample import (
    consistent_double,
    half_inverse,
    half_matrix,
    imresize_double,
    imresize_half,
    low_resolution,
)


def impulse(size: int, at: int) -> torch.Tensor:
    """A picture (1,1,size,size) whose every row is zero but for a 1 at column `at`."""
    y = torch.zeros(1, 1, size, size, dtype=torch.float64)
    y[..., at] = 1
    return y


@pytest.mark.equation("eq-halves-half")
def test_impulse_response_is_the_stretched_cubic_kernel():
    # Keys' kernel with a = -1/2 at distances 1/4, 3/4, 5/4, 7/4, halved: exact multiples of 1/256.
    weights = np.array([-3, -9, 29, 111, 111, 29, -9, -3]) / 256
    response = [imresize_half(impulse(16, at))[0, 0, 0, 3].item() for at in range(3, 11)]
    assert response == list(weights)


@pytest.mark.equation("eq-halves-keys")
def test_double_impulse_response_is_the_cubic_kernel():
    # Output 8 lies at input position 3.75: the kernel at distances 7/4, 3/4, 1/4, 5/4.
    responses = [imresize_double(impulse(8, at))[0, 0, 0, 8].item() for at in range(2, 6)]
    assert responses == [-3 / 128, 29 / 128, 111 / 128, -9 / 128]


@pytest.mark.parametrize("size", [4, 6, 12, 48, 130])
def test_closed_forms_are_those_of_linear_algebra(size):
    def orthonormal(rows):
        left, _, right = torch.linalg.svd(rows, full_matrices=False)
        return left @ right  # (R R^T)^{-1/2} R

    halve = half_matrix(size)
    low = orthonormal(halve)
    pairs = torch.eye(size, dtype=halve.dtype).unflatten(0, (-1, 2))
    differences = pairs[:, 0] - pairs[:, 1]
    detail = orthonormal(differences - differences @ low.T @ low)
    # float64; an inverse multiplies rounding by the condition of D D^T, below 100
    near = {"rtol": 0, "atol": 1e-12}
    torch.testing.assert_close(bands(size), torch.cat([low, detail]), **near)
    torch.testing.assert_close(half_inverse(size // 2), torch.linalg.pinv(halve), **near)


@pytest.mark.parametrize("resize", [imresize_half, imresize_double])
def test_constants_are_kept_exactly_up_to_the_edges(resize):
    y = torch.full((1, 1, 8, 12), 77.0, dtype=torch.float64)
    assert (resize(y) == 77).all()


def test_edges_are_mirrored_with_the_edge_pixel_repeated():
    y = torch.rand(1, 3, 12, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    padded = np.pad(y.numpy(), ((0, 0), (0, 0), (4, 4), (4, 4)), mode="symmetric")
    inner = imresize_half(torch.from_numpy(padded))[..., 2:-2, 2:-2]
    # Same sums in another order: float64 rounding only.
    torch.testing.assert_close(imresize_half(y), inner, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    "resize, factor, margin", [(imresize_half, 0.5, 4), (imresize_double, 2, 8)]
)
def test_agrees_with_pillow_away_from_the_edges(resize, factor, margin):
    # Pillow's bicubic has the same kernel and antialiasing but cuts the kernel at the edges.
    pixels = np.random.default_rng(0).random((48, 40)).astype(np.float32) * 255
    size = (int(40 * factor), int(48 * factor))
    pillow = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
    ours = resize(torch.from_numpy(pixels)[None, None])[0, 0].numpy()
    inner = (slice(margin, -margin), slice(margin, -margin))
    # 1e-3 grey levels: Pillow works in float32 on values up to 255.
    np.testing.assert_allclose(ours[inner], pillow[inner], atol=1e-3)


def test_result_does_not_depend_on_batch_or_precision():
    y = torch.randint(0, 256, (16, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    batch = imresize_half(y.float())
    assert torch.equal(batch[5], imresize_half(y[5:6].float())[0])
    assert torch.equal(batch, imresize_half(y.double()).float())
    assert torch.equal(batch, imresize_half(y.to(torch.uint8)))


def test_rounded_low_resolution_is_an_8_bit_picture():
    y = torch.zeros(1, 3, 16, 16)
    y[..., 8:] = 255
    raw, rounded = low_resolution(y, round_x=False), low_resolution(y, round_x=True)
    assert raw.min() < 0 and raw.max() > 255  # the cubic kernel overshoots
    assert rounded.min() == 0 and rounded.max() == 255
    assert torch.equal(rounded, torch.floor(raw.clamp(0, 255) + 0.5))


@pytest.mark.equation("eq-halves-double")
def test_consistent_double_halves_back_to_its_input():
    x = torch.rand(2, 3, 8, 6, dtype=torch.float64) * 255
    # Values up to 255 and a pseudo-inverse whose condition number is near 10: 1e-11 is rounding.
    torch.testing.assert_close(imresize_half(consistent_double(x)), x, rtol=0, atol=1e-11)


def test_long_axes_in_blocks_give_what_whole_matrices_give(monkeypatch):
    """Sides that end inside a block, and, for bands of y, where it is twice as long."""
    x, y = (torch.rand(1, 1, 150 * n, 263 * n, dtype=torch.float64) for n in (1, 2))
    maps = [imresize_double, consistent_double, imresize_half]
    maps += [lambda t: Subbands()(t)[0], lambda t: Subbands().inverse(t)[0]]
    inputs = x, x, y, y, torch.cat(4 * [x], 1)
    whole = [apply(t) for apply, t in zip(maps, inputs, strict=True)]
    monkeypatch.setattr(resample, "WHOLE", 2 * resample.REACH + resample.BLOCK)
    for apply, t, expected in zip(maps, inputs, whole, strict=True):
        # rounding of float64 in matrices whose inverses have condition numbers up to 100
        torch.testing.assert_close(apply(t), expected, rtol=0, atol=1e-11)


def test_halves_are_rounded_up():
    """As MATLAB does it; PyTorch's `round` goes to the even neighbour."""
    for level in (2.5, 3.5):  # a constant picture is halved exactly
        y = torch.full((1, 3, 8, 8), level)
        assert (low_resolution(y, round_x=True) == level + 0.5).all()
        assert (low_resolution(y, round_x=False) == level).all()
