import pytest
import torch

from cnf.replication.data.fundus import generate


@pytest.fixture(scope="module")
def eyes():
    return [generate(seed, 192) for seed in range(4)]


def test_the_same_seed_gives_the_same_eye_and_others_differ(eyes):
    assert generate(1, 192).sha256 == eyes[1].sha256
    assert len({eye.sha256 for eye in eyes}) == len(eyes)


def test_parts_have_the_documented_types(eyes):
    for eye in eyes:
        assert eye.x.shape == (3, 192, 192) and eye.x.dtype == torch.uint8
        assert eye.y.shape == (1, 192, 192) and eye.y.dtype == torch.uint8
        assert set(eye.y.unique().tolist()) == {0, 1}
        assert eye.fov.shape == (192, 192) and eye.fov.dtype == torch.bool


@pytest.mark.parametrize("size", [128, 192, 256])
def test_vessels_cover_as_much_of_the_retina_as_in_real_labels(size):
    eye = generate(7, size)
    share = eye.y[0][eye.fov].float().mean().item()
    # Real annotations: 12.5 % of the field of view, single eyes from 8 to 17.
    assert 0.08 < share < 0.17


def test_no_vessel_and_little_light_outside_the_field_of_view(eyes):
    for eye in eyes:
        assert eye.y[0][~eye.fov].sum() == 0
        # The last pixels along the rim are blurred; inside the corners it is dark.
        assert eye.x[:, :20, :20].float().mean() < 12
        assert 0.65 < eye.fov.float().mean() < 0.75  # a disc of radius 0.475: pi * 0.475^2 = 0.71
