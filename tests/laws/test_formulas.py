"""Each layer computes the formula of its docstring: which half, which order, which sign.

The laws hold as well for a layer that changes the other half; stored weights do not.
"""

import math

import pytest
import torch
import torch.nn.functional as F

from cnf.glow import glow
from cnf.layers import (
    ActNorm,
    CheckerboardCoupling,
    ConditionalAffine,
    Conv1x1,
    Residual,
    Squeeze,
    Squeezed,
    Subbands,
)
from cnf.layers.base import log_scale
from cnf.nets import CouplingNet
from cnf.resample import consistent_double, imresize_half
from tests.laws.cases import coupling, net, randomise, split


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.equation("eq-norms-actnorm")
def test_actnorm_is_exp_l_times_y_plus_b():
    layer = randomise(ActNorm(3)).double()
    y = normal(2, 3, 2, 5)
    z, log_det = layer(y)
    torch.testing.assert_close(z, layer.log_scale.exp() * (y + layer.bias))
    torch.testing.assert_close(log_det, (2 * 5 * layer.log_scale.sum()).expand(2))


@pytest.mark.equation("eq-norms-conv", "eq-norms-lu")
def test_conv1x1_multiplies_every_position_by_its_weight():
    for lu in (False, True):
        layer = randomise(Conv1x1(3, lu)).double()
        y = normal(2, 3, 2, 5)
        z, log_det = layer(y)
        torch.testing.assert_close(z, torch.einsum("dc,bchw->bdhw", layer.weight(), y))
        expected = 2 * 5 * torch.linalg.det(layer.weight()).abs().log()
        torch.testing.assert_close(log_det, expected.expand(2))


def test_conv1x1_starts_as_a_rotation_the_same_in_either_form():
    weights = []
    for lu in (False, True):
        torch.manual_seed(0)
        w = Conv1x1(6, lu).weight()
        torch.testing.assert_close(w @ w.T, torch.eye(6), rtol=0, atol=1e-5)  # float32
        weights.append(w)
    torch.testing.assert_close(*weights, rtol=0, atol=1e-5)


@pytest.mark.equation("eq-norms-squeeze")
def test_squeeze_folds_blocks_into_neighbouring_channels():
    y = torch.arange(16.0).view(1, 1, 4, 4)
    z, _ = Squeeze()(y)
    assert z[0, :, 0, 0].tolist() == [0, 1, 4, 5]
    assert z[0, :, 1, 1].tolist() == [10, 11, 14, 15]
    assert torch.equal(Squeezed([])(y)[0], y)


@pytest.mark.equation("eq-halves-null")
def test_the_low_band_of_what_the_input_does_not_say_is_empty():
    """y - u, with u the picture that halves back to x: only the details are left to the flow."""
    y = 255 * torch.rand(2, 3, 8, 12, dtype=torch.float64)
    rest = y - consistent_double(imresize_half(y))
    z, _ = Subbands()(rest)
    assert z.shape == (2, 12, 4, 6)
    # grey levels up to 255 in float64
    assert z[:, 9:].abs().max() < 1e-10 < z[:, :9].abs().min()
    torch.testing.assert_close(z.square().sum(), rest.square().sum())


def test_a_coupling_changes_the_second_half_and_the_first_when_flipped():
    for channels, flip in ((4, False), (4, True), (5, False), (5, True)):
        layer = randomise(coupling(channels, 0, flip=flip)).double()
        y = normal(2, channels, 3, 3)
        moved = (layer(y)[0] != y).flatten(2).any(2).all(0).tolist()
        changed, kept = channels // 2, channels - channels // 2
        assert moved == ([True] * changed + [False] * kept)[:: 1 if flip else -1]


@pytest.mark.equation("eq-coupling-forward", "eq-coupling-logdet", "eq-conditional-coupling")
def test_a_coupling_multiplies_and_shifts_with_what_its_network_says():
    y, h = normal(2, 4, 3, 3), normal(2, 2, 3, 3)
    for scale in ("bounded", "softplus", "additive"):
        layer = randomise(coupling(4, 2, scale=scale)).double()
        out = layer.net(y[:, :2], h)
        raw, t = (None, out) if scale == "additive" else (out[:, :2], out[:, 2:])
        s = {
            "bounded": lambda raw: torch.exp(1.5 * torch.tanh(raw / 1.5)),
            "softplus": F.softplus,
            "additive": lambda raw: torch.ones(2, 2, 3, 3, dtype=torch.float64),
        }[scale](raw)
        z, log_det = layer(y, h)
        torch.testing.assert_close(z, torch.cat([y[:, :2], s * y[:, 2:] + t], dim=1))
        torch.testing.assert_close(log_det, s.log().sum((1, 2, 3)))


@pytest.mark.equation("eq-conditional-convention")
def test_the_scale_of_the_paper_is_one_over_ours():
    """It writes y_b = s' z_b + t', from z to y."""
    layer, y, h = randomise(coupling(4, 2)).double(), normal(2, 4, 3, 3), normal(2, 2, 3, 3)
    log_s, t = layer.params(y[:, :2], h)
    z, _ = layer(y, h)
    scale, shift = 1 / log_s.exp(), -t / log_s.exp()
    torch.testing.assert_close(y[:, 2:], scale * z[:, 2:] + shift)
    torch.testing.assert_close(layer.inverse(z, h)[1], scale.log().sum((1, 2, 3)))


@pytest.mark.equation("eq-coupling-jacobian")
def test_the_jacobian_of_a_coupling_is_block_triangular():
    """Ones, zeros, s on a diagonal; below, how y_b ds/dy_a + dt/dy_a bends the b-half."""
    layer, y, h = randomise(coupling(4, 2)).double(), normal(1, 4, 2, 3), normal(1, 2, 2, 3)
    half = y.numel() // 2

    def params(y_a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        log_s, t = layer.params(y_a.view(1, 2, 2, 3), h)
        return log_s.exp().flatten(), t.flatten()

    jacobian = torch.autograd.functional.jacobian
    found = jacobian(lambda u: layer(u.view_as(y), h)[0].flatten(), y.flatten())
    y_a, y_b = y.flatten().chunk(2)
    ds, dt = jacobian(params, y_a)
    assert torch.equal(found[:half, :half], torch.eye(half).double())
    assert not found[:half, half:].any()
    torch.testing.assert_close(found[half:, half:], params(y_a)[0].diag())
    torch.testing.assert_close(found[half:, :half], y_b[:, None] * ds + dt)
    assert found[half:, :half].any()


@pytest.mark.equation("eq-vflow-checkerboard")
def test_a_checkerboard_coupling_changes_the_odd_positions_and_the_even_when_flipped():
    y, h = normal(2, 1, 3, 4), normal(2, 2, 3, 4)
    odd = torch.tensor([[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1]]).bool()
    for flip in (False, True):
        changed = ~odd if flip else odd
        for scale in ("bounded", "additive"):
            inside = net(1, 2, 1 if scale == "additive" else 2)
            layer = randomise(CheckerboardCoupling(inside, scale, flip)).double()
            out = layer.net(torch.where(changed, 0, y), h)
            s = (
                torch.ones_like(y)
                if scale == "additive"
                else (1.5 * (out[:, :1] / 1.5).tanh()).exp()
            )
            z, log_det = layer(y, h)
            torch.testing.assert_close(z, torch.where(changed, s * y + out[:, -1:], y))
            torch.testing.assert_close(log_det, torch.where(changed, s.log(), 0).sum((1, 2, 3)))
            moved = z != y
            assert torch.equal(moved, changed.expand_as(moved))


def test_two_checkerboard_couplings_let_every_position_see_its_neighbours():
    """One alone leaves half of y as it was; the flow alternates."""
    layers = glow(1, 2, levels=0, steps=4).layers
    couplings = [c for c in layers if isinstance(c, CheckerboardCoupling)]
    assert [c.flip for c in couplings] == [False, True, False, True]


@pytest.mark.equation("eq-norms-instance")
def test_instance_normalization_inside_a_network_is_torchs():
    layer = randomise(net(2, 3, 4, norm="instance")).double()
    y_a, h = normal(2, 2, 3, 5), normal(2, 3, 3, 5)

    def normed(t: torch.Tensor, part: torch.nn.Module) -> torch.Tensor:
        mean, var = t.mean((2, 3), keepdim=True), t.var((2, 3), correction=0, keepdim=True)
        scale, shift = (p[:, None, None] for p in (part.weight, part.bias))
        return (t - mean) / (var + 1e-5).sqrt() * scale + shift

    t = normed(layer.from_y(y_a) + layer.from_h(h), layer.norms[0]).relu()
    t = normed(layer.middle(t), layer.norms[1]).relu()
    torch.testing.assert_close(layer(y_a, h), layer.last(t))
    assert layer.from_y.bias is None and layer.middle.bias is None  # the norm would undo them


@pytest.mark.equation("eq-norms-null")
def test_instance_normalization_of_what_is_transformed_has_determinant_zero():
    """The paper's flow is said to have instance normalization: it cannot be a layer. It forgets the
    mean of every channel, and with eps = 0 its scale: two directions a channel are lost."""
    y = normal(1, 2, 3, 3)

    def flat(u: torch.Tensor, eps: float) -> torch.Tensor:
        return F.instance_norm(u.view_as(y), eps=eps).flatten()

    for eps, lost in ((1e-5, 2), (0.0, 4)):
        jacobian = torch.autograd.functional.jacobian(lambda u, eps=eps: flat(u, eps), y.flatten())
        singular = torch.linalg.svdvals(jacobian)
        assert torch.linalg.det(jacobian).abs() < 1e-20
        # what eps leaves of the scale is eps / (2 var) and above: 1e-6; what is lost is rounding
        assert (singular < 1e-12).sum() == lost and (singular > 1e-7).sum() == y.numel() - lost
        torch.testing.assert_close(flat(y + 3, eps), flat(y, eps))  # two inputs, one output


def test_a_conditional_affine_map_reads_its_features():
    layer = randomise(ConditionalAffine(3, net(0, 2, 6), max_log_scale=0.5)).double()
    y, h = normal(2, 3, 3, 3), normal(2, 2, 3, 3)
    out = layer.net(None, h)
    s = torch.exp(0.5 * torch.tanh(out[:, :3] / 0.5))
    torch.testing.assert_close(layer(y, h)[0], s * y + out[:, 3:])


@pytest.mark.equation("eq-better-residual")
def test_a_residual_is_magnified_around_the_first_channels_of_the_features():
    v, h = normal(2, 3, 3, 3), normal(2, 5, 3, 3)
    z, log_det = Residual(8.0)(v, h)
    torch.testing.assert_close(z, 8 * (v - h[:, :3]))
    torch.testing.assert_close(log_det, torch.full((2,), 27 * math.log(8)).double())


def test_a_split_lets_the_last_channels_go():
    for channels, kept in ((4, 2), (5, 3), (4, 1), (4, 3)):
        options = {} if kept == channels - channels // 2 else {"num_kept": kept}
        layer = randomise(split(channels, 0, **options)).double()
        y = normal(2, channels, 3, 3)
        assert torch.equal(layer(y)[0], y[:, :kept])
        assert torch.equal(layer.latent(y), y[:, kept:])


def test_a_log_scale_is_the_log_of_the_scale_it_names():
    raw = torch.linspace(-30, 30, 601, dtype=torch.float64)
    torch.testing.assert_close(log_scale(raw, "bounded", 2.0), 2 * torch.tanh(raw / 2))
    # below -15 the series log softplus(raw) = raw - e^raw / 2 is cut after raw: e^-15 / 2 = 1.5e-7
    torch.testing.assert_close(
        log_scale(raw, "softplus", 2.0), torch.log(torch.log1p(raw.exp())), rtol=0, atol=2e-7
    )


def test_a_log_scale_and_its_gradient_stay_finite_for_any_parameter():
    for kind in ("bounded", "softplus"):
        raw = torch.tensor([-1e30, -1e4, -100, -15, 0, 15, 100, 1e4, 1e30], requires_grad=True)
        value = log_scale(raw, kind, 1.5)
        value.sum().backward()
        assert value.isfinite().all() and raw.grad.isfinite().all()
        assert (raw.grad >= 0).all()


def test_an_untrained_coupling_network_gives_zeros():
    for width in (0, 8):
        out = CouplingNet(2, 3, 4, width)(torch.randn(2, 2, 3, 5), torch.randn(2, 3, 3, 5))
        assert out.shape == (2, 4, 3, 5) and not out.any()


def test_many_samples_of_one_h_are_those_of_repeated_h():
    for width in (0, 8):
        network = randomise(net(2, 3, 4, width))
        y_a, h = torch.randn(6, 2, 3, 5), torch.randn(2, 3, 3, 5)
        torch.testing.assert_close(network(y_a, h), network(y_a, h.repeat(3, 1, 1, 1)))


def test_an_output_gain_is_exp_of_three_logs():
    """As in the paper's released code."""
    plain = randomise(CouplingNet(2, 0, 4, 8)).double()
    gained = CouplingNet(2, 0, 4, 8, gain=True).double()
    gained.load_state_dict(plain.state_dict(), strict=False)
    logs = 0.1 * torch.arange(4).double().view(4, 1, 1)
    gained.last.logs.data.copy_(logs)
    y = normal(1, 2, 3, 3)
    torch.testing.assert_close(gained(y, None), plain(y, None) * torch.exp(3 * logs))


@pytest.mark.equation("eq-speed-linear")
def test_the_first_convolution_in_two_parts_is_that_of_the_concatenation():
    parts = randomise(CouplingNet(2, 3, 4, 8, h_kernel=3)).double()
    y, h = normal(1, 2, 4, 5), normal(1, 3, 4, 5)
    weight = torch.cat([parts.from_y.weight, parts.from_h.weight], dim=1)
    t = F.conv2d(torch.cat([y, h], dim=1), weight, parts.from_y.bias, padding=1)
    torch.testing.assert_close(parts(y, h), parts.last(F.relu(parts.middle(F.relu(t)))))
