"""Feature networks: one map a level, of the stated size and weight."""

import pytest
import torch

from cnf.build import count_parameters
from cnf.features import RRDBFeatures
from tests.laws.cases import ALL_MODELS


@pytest.mark.equation("eq-features-list")
@pytest.mark.parametrize("case", ALL_MODELS, ids=str)
def test_every_level_has_its_map_and_each_is_half_the_last(case):
    model, y, x = case.make()
    h = model.features(x)
    assert len(h) >= len(model.features.channels)  # a network without levels may have one to spare
    for level, (t, channels) in enumerate(zip(h, model.features.channels, strict=False)):
        height, width = (size >> level for size in y.shape[-2:])
        assert t.shape == (len(x), channels, height, width)


@pytest.mark.equation("eq-features-weights")
@pytest.mark.parametrize(("c", "blocks", "g", "levels"), [(6, 1, 4, 1), (8, 2, 3, 3)])
def test_residual_in_residual_dense_blocks_have_the_weights_that_are_counted(c, blocks, g, levels):
    with torch.device("meta"):
        network = RRDBFeatures(levels, c, blocks, g)
    dense = sum(9 * (c + n * g) * g + g for n in range(4)) + 9 * (c + 4 * g) * c + c
    expected = 28 * c + 3 * blocks * dense + 2 * (9 * c**2 + c) + levels * (4 * c**2 + c)
    assert count_parameters(network) == expected
