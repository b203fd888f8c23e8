"""Laws of whole models: what holds of the layers holds of their sum, and of what is built on it."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal
from torch.nn.functional import softplus

from cnf import noise
from cnf.features import RawFeatures
from cnf.flow import ConditionalFlow, with_levels
from cnf.glow import glow
from cnf.layers import ActNorm, AutoregressivePrior, Dequantization, GaussianPrior, Prior
from cnf.nets import set_precision
from cnf.noise import keyed
from cnf.replication import plugs, releases
from tests.laws.cases import ALL_FACTORISED, ALL_FLOWS, ALL_MODELS, mixtures, noise_of, stated

ClassWeighted = plugs.plug("weighted_likelihood").ClassWeighted

EXACT = {"rtol": 0, "atol": 0}
# The same numbers summed in another order, in float64, through ten layers.
REORDERED = {"rtol": 1e-11, "atol": 1e-10}

every_model = pytest.mark.parametrize("case", ALL_MODELS, ids=str)
every_flow = pytest.mark.parametrize("case", ALL_FLOWS, ids=str)
every_factorised = pytest.mark.parametrize("case", ALL_FACTORISED, ids=str)
built = pytest.mark.parametrize("case", [c for c in ALL_MODELS if c.config], ids=str)


def continuous(model: ConditionalFlow) -> ConditionalFlow:
    """The flow of v: the same layers without the dequantization, which comes first."""
    assert isinstance(model.layers[0], Dequantization)
    return ConditionalFlow(model.layers[1:], model.features).eval()


# -- the two directions of a flow ------------------------------------------------------------------


@every_flow
def test_decode_undoes_encode_exactly(case):
    model, y, x = case.make()
    h = model.condition(x)
    for seed in range(5):
        assert torch.equal(model.decode(model.encode(y, h, noise_of(y, seed))[0], h), y)


@every_flow
def test_decode_undoes_encode_in_float32(case):
    model, y, x = case.make(torch.float32)
    h = model.condition(x)
    v, _ = model.layers[0](y, h[0], noise_of(y))
    flow = continuous(model)
    back = flow.decode(flow.encode(v, h)[0], h)
    # 6e-8 relative, times the condition of ten random layers (below 1e3 with these weights)
    torch.testing.assert_close(back, v, rtol=1e-4, atol=1e-4)


@every_flow
def test_encode_undoes_decode(case):
    model, y, x = case.make()
    flow, h = continuous(model), model.condition(x)
    latents = [torch.randn_like(z) for z in model.encode(y, h)[0]]
    for z, back in zip(latents, flow.encode(flow.decode(latents, h), h)[0], strict=True):
        # float64 rounding, times the condition of ten random layers
        torch.testing.assert_close(back, z, rtol=1e-9, atol=1e-9)


@pytest.mark.equation("eq-multiscale-sizes")
@every_flow
def test_latents_have_as_many_entries_as_y_and_one_part_a_prior(case):
    model, y, x = case.make()
    latents, _ = model.encode(y, model.condition(x))
    assert len(latents) == sum(isinstance(layer, Prior) for layer in model.layers)
    assert sum(z.numel() for z in latents) == y.numel()


@pytest.mark.equation(
    "eq-given-change",
    "eq-given-terms",
    "eq-conditional-sum",
    "eq-coupling-stack",
    "eq-change-chain",
    "eq-multiscale-sum",
)
@every_flow
def test_log_prob_is_that_of_its_definition(case):
    """log N of the latents by torch.distributions, log|det| of the whole by autograd, - log q."""
    model, y, x = case.make(batch=1)
    flow, h = continuous(model), model.condition(x)
    v, minus_log_q = model.layers[0](y, h[0], noise_of(y))

    def latents(flat: Tensor) -> Tensor:
        return torch.cat([z.flatten() for z in flow.encode(flat.view(v.shape), h)[0]])

    jacobian = torch.autograd.functional.jacobian(latents, v.flatten(), vectorize=True)
    expected = torch.linalg.slogdet(jacobian).logabsdet + minus_log_q[0]
    state = v
    for layer, level in with_levels(flow.layers):
        if isinstance(layer, Prior):
            causal = isinstance(layer, AutoregressivePrior)
            given = layer, state, h[level]
            density = mixtures(*given) if causal else Normal(*stated(*given))
            expected = expected + density.log_prob(layer.latent(state)).sum()
        state = layer(state, h[level])[0]
    # a determinant of at most 192 rows in float64
    torch.testing.assert_close(model.log_prob(y, x, noise_of(y))[0], expected, rtol=1e-9, atol=1e-8)


@pytest.mark.equation("eq-one-idea", "eq-first-terms")
@every_flow
def test_the_terms_of_the_layers_sum_to_log_prob(case):
    model, y, x = case.make()
    layers, terms = zip(*model.terms(y, x, noise_of(y)), strict=True)
    assert list(layers) == list(model.layers)
    model.fast = False  # test_fused.py holds the fast path to the layers
    torch.testing.assert_close(sum(terms), model.log_prob(y, x, noise_of(y)), **EXACT)


@pytest.mark.equation("eq-temp-sample")
@every_flow
@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_a_sample_is_decoded_prior_noise(case, temperature):
    """z = mu + temperature sigma eps at every prior, splits included, from last to first."""
    model, y, x = case.make()
    h, generators = model.condition(x), noise_of(y, seed=3)
    state = None
    for layer, level in reversed(with_levels(model.layers)):
        if isinstance(layer, AutoregressivePrior):  # test_priors.py holds it to its definition
            state = layer.sample(state, h[level], temperature, generators)
        elif isinstance(layer, Prior):
            blank = blank_input(layer, state, h[level])
            mu, sigma = stated(layer, blank, h[level])
            eps = torch.stack(
                [torch.randn(mu.shape[1:], generator=g, dtype=torch.float64) for g in generators]
            )
            state = layer.restore(state, mu + temperature * sigma * eps)
        elif isinstance(layer, Dequantization):
            state = layer.inverse(state)
        else:
            state, _ = layer.inverse(state, h[level])
    (drawn,) = model.sample(x, 1, temperature, noise_of(y, seed=3))
    torch.testing.assert_close(drawn, state, **EXACT)


def blank_input(prior: Prior, kept: Tensor | None, h: Tensor) -> Tensor:
    """An input of the prior with this kept part: the rest does not matter to mu and sigma."""
    if kept is None:
        return h.new_zeros(len(h), prior.channels, *h.shape[2:])
    return torch.cat([kept, kept.new_zeros(len(kept), prior.num_left, *kept.shape[2:])], dim=1)


@pytest.mark.equation("eq-binary-importance")
@every_flow
def test_importance_sampling_averages_the_weights_of_its_draws(case):
    model, y, x = case.make()
    generators = noise_of(y)
    draws = torch.stack([model.log_prob(y, x, generators) for _ in range(3)])
    for m in (1, 3):
        largest = draws[:m].amax(0)  # exp alone underflows below -745
        expected = (draws[:m] - largest).exp().mean(0).log() + largest
        got = model.importance_log_prob(y, x, m, noise_of(y))
        torch.testing.assert_close(got, expected, **REORDERED)


# -- every model -----------------------------------------------------------------------------------


@every_model
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_shapes_types_and_ranges(case, dtype):
    model, y, x = case.make(dtype)
    for term in (model.log_prob(y, x), model.bits_per_dim(y, x)):
        assert (term.shape, term.dtype, term.device) == ((3,), dtype, y.device)
    for temperature in (0.0, 1.0):
        drawn = model.sample(x, 2, temperature)
        assert (drawn.shape, drawn.dtype) == ((2, *y.shape), dtype)
        assert torch.equal(drawn, drawn.round().clamp(0, case.bins - 1))


@every_model
def test_y_may_hold_bytes(case):
    model, y, x = case.make()
    expected = model.log_prob(y, x, noise_of(y))
    torch.testing.assert_close(model.log_prob(y.byte(), x, noise_of(y)), expected, **EXACT)


@pytest.mark.equation("eq-why-bpd")
@every_model
def test_bits_per_dim_divides_by_the_entries_of_y(case):
    model, y, x = case.make()
    dimensions = math.prod(y.shape[1:])
    expected = -model.log_prob(y, x, noise_of(y)) / dimensions / math.log(2)
    torch.testing.assert_close(model.bits_per_dim(y, x, noise_of(y)), expected)


@pytest.mark.equation("eq-given-loss", "eq-vflow-auxiliary")
@every_model
def test_the_loss_is_nats_per_dimension(case):
    model, y, x = case.make()
    loss, logs = model.loss(y, x, noise_of(y))
    nats = -model.log_prob(y, x, noise_of(y)).mean() / y[0].numel()
    assert loss.requires_grad and not any(t.requires_grad for t in logs.values())
    if isinstance(model, ClassWeighted):  # trained by something else, and logs the likelihood
        torch.testing.assert_close(logs["nats"], nats.detach())
        assert not torch.isclose(loss, nats)
        return
    if hasattr(model, "weight"):  # of a per-pixel loss beside
        logit = model.head(model.condition(x)[0])
        cross_entropy = -torch.distributions.Bernoulli(logits=logit).log_prob(y).mean()
        torch.testing.assert_close(logs["nats"], nats.detach())
        torch.testing.assert_close(logs["cross_entropy"], cross_entropy.detach())
        nats = nats + model.weight * cross_entropy
    torch.testing.assert_close(loss, nats)


@every_model
def test_a_number_does_not_depend_on_the_rest_of_its_batch(case):
    """With keyed noise: not on the other samples, not on their number, not on the order."""
    model, y, x = case.make()
    together, drawn = model.log_prob(y, x, noise_of(y)), model.sample(x, 2, 1.0, noise_of(y))
    order = [2, 0]
    log_prob = model.log_prob(y[order], x[order], keyed(0, order))
    torch.testing.assert_close(log_prob, together[order], **REORDERED)
    # an entry whose v lies within rounding of a cell's edge may fall either way: none does here
    assert torch.equal(model.sample(x[order], 2, 1.0, keyed(0, order)), drawn[:, order])


@every_model
def test_a_generator_decides_every_number(case):
    model, y, x = case.make()
    for make in (lambda seed: torch.Generator().manual_seed(seed), lambda seed: noise_of(y, seed)):
        assert torch.equal(model.log_prob(y, x, make(0)), model.log_prob(y, x, make(0)))
        same = torch.equal(model.log_prob(y, x, make(0)), model.log_prob(y, x, make(1)))
        assert same == model.exact
        assert torch.equal(model.sample(x, 2, 1.0, make(0)), model.sample(x, 2, 1.0, make(0)))
        assert not torch.equal(model.sample(x, 8, 1.0, make(0)), model.sample(x, 8, 1.0, make(1)))


@every_model
def test_draws_differ_between_samples_of_one_batch_and_in_number(case):
    model, _, x = case.make()
    same_x = x[:1].expand(4, *x.shape[1:])
    for generator in (None, torch.Generator().manual_seed(0), keyed(0, range(4))):
        drawn = model.sample(same_x, 4, 1.0, generator).flatten(0, 1)
        assert len(drawn.flatten(1).unique(dim=0)) > 1
        first_draws = drawn.reshape(4, 4, -1)
        assert len(first_draws[0].unique(dim=0)) > 1, "the samples of one batch share their noise"
        assert len(first_draws[:, 0].unique(dim=0)) > 1, "every draw is the first"


@every_model
def test_temperature_zero_is_deterministic(case):
    model, y, x = case.make()
    cold, again = (model.sample(x, 1, 0.0, noise_of(y, seed))[0] for seed in (0, 1))
    assert torch.equal(cold, again)
    if case.uses_x and case.bins == 256:
        assert len(cold.flatten(1).unique(dim=0)) == len(x), "different x, the same output"


@every_model
def test_x_is_used(case):
    model, y, x = case.make()
    y = y[:1].expand(3, *y.shape[1:])
    log_prob = model.log_prob(y, x, [g for _ in range(3) for g in keyed(0, [0])])
    assert (len(log_prob.unique()) == 3) == case.uses_x


@every_model
def test_every_weight_moves_the_loss(case):
    """A weight without gradient is dead: the paper's released code has 0.44 M of them."""
    model, y, x = case.make(seed=1)
    model.loss(y, x, noise_of(y))[0].backward()
    for name, p in model.named_parameters():
        assert p.grad is not None and p.grad.abs().max() > 0, name


@every_model
def test_float32_is_near_float64(case):
    (model, y, x), (single, y32, x32) = case.make(torch.float64), case.make(torch.float32)
    exact = model.bits_per_dim(y, x, noise_of(y))
    bits = single.bits_per_dim(y32, x32, noise_of(y))
    # the noise is the same, rounded; ten random layers leave 1e-5 relative
    torch.testing.assert_close(bits.double(), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.equation("eq-speed-bf16")
@every_model
def test_bfloat16_networks_stay_near_and_terms_stay_float32(case):
    model, y, x = case.make(torch.float32)
    exact = model.bits_per_dim(y, x, noise_of(y))
    set_precision(model, "bf16")
    term = model.log_prob(y, x, noise_of(y))
    assert term.dtype == torch.float32
    bits = model.bits_per_dim(y, x, noise_of(y))
    assert case.name.startswith("toy-no") or not torch.equal(bits, exact)
    # bfloat16 keeps 8 bits, 0.4 % of every network's output; random weights move the bits by less
    torch.testing.assert_close(bits, exact, rtol=0.02, atol=0.02)
    if not model.exact:  # inversion is as exact as before: the layers did not change type
        h = model.condition(x)
        v, _ = model.layers[0](y, h[0], noise_of(y))
        flow = continuous(model)
        torch.testing.assert_close(flow.decode(flow.encode(v, h)[0], h), v, rtol=1e-4, atol=1e-4)


@every_model
@pytest.mark.parametrize("level", ["least", "most", "checkerboard"])
def test_loss_and_gradients_stay_finite_at_extreme_pictures(case, level):
    for trained in (False, True):
        model, y, x = case.make(torch.float32)
        if not trained:
            model = case.build()
        model.train()
        y = torch.full_like(y, 0.0 if level == "least" else case.bins - 1)
        x = torch.full_like(x, 0.0 if level == "most" else case.x_range)
        if level == "checkerboard":
            y[..., ::2, ::2], y[..., 1::2, 1::2] = 0, 0
            x[..., ::2, 1::2], x[..., 1::2, ::2] = 0, 0
        loss, _ = model.loss(y, x, noise_of(y))
        loss.backward()
        assert loss.isfinite()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@every_model
@pytest.mark.parametrize("layout", ["channels_last", "transposed"])
def test_the_layout_in_memory_changes_nothing(case, layout):
    model, y, x = case.make()

    def laid_out(t: Tensor) -> Tensor:
        if layout == "transposed":
            return t.mT.contiguous().mT
        form = torch.channels_last if t.dim() == 4 else torch.contiguous_format
        return t.contiguous(memory_format=form)

    got = model.log_prob(laid_out(y), laid_out(x), noise_of(y))
    torch.testing.assert_close(got, model.log_prob(y, x, noise_of(y)), **REORDERED)


@pytest.mark.parametrize("case", [c for c in ALL_MODELS if c.size], ids=str)
def test_any_multiple_of_the_stated_sizes_fits(case):
    model, _, _ = case.make()
    for rows, columns in ((1, 3), (3, 2)):
        size = [max(n * model.multiple, 2 * model.factor) for n in (rows, columns)]
        model, y, x = case.make(size=size)
        assert model.log_prob(y, x).isfinite().all()
        assert model.sample(x).shape == (1, *y.shape)


# -- state -----------------------------------------------------------------------------------------


@built
def test_a_saved_model_is_the_model(case, tmp_path):
    model, y, x = case.make(torch.float32)
    model.save(tmp_path / "model.safetensors", {"note": "kept"})
    loaded = releases.load(tmp_path / "model.safetensors")
    assert (loaded.kind, loaded.arguments) == (model.kind, model.arguments)
    assert loaded.metadata == {"note": "kept"} and not loaded.training
    for mode in (loaded.eval(), loaded.train()):  # no activation norm starts again
        if any(isinstance(m, torch.nn.BatchNorm2d) for m in mode.modules()):
            mode.eval()  # batch norm does differ in training
        log_prob = mode.log_prob(y, x, noise_of(y))
        torch.testing.assert_close(log_prob, model.log_prob(y, x, noise_of(y)), **EXACT)


@built
def test_half_precision_weights_are_the_rounded_weights(case, tmp_path):
    model, y, x = case.make(torch.float32)
    model.save(tmp_path / "model.safetensors", half=True)
    loaded = releases.load(tmp_path / "model.safetensors")
    rounded = case.make(torch.float32)[0].half().float()
    log_prob = loaded.log_prob(y, x, noise_of(y))
    torch.testing.assert_close(log_prob, rounded.log_prob(y, x, noise_of(y)), **EXACT)


@every_flow
def test_the_first_training_batch_starts_every_actnorm_and_the_second_none(case):
    _, y, x = case.make(torch.float32)
    model = case.build().train()
    norms = [m for m in model.modules() if isinstance(m, ActNorm)]
    assert not any(norm.initialised for norm in norms)
    model.log_prob(y, x, noise_of(y))
    assert all(norm.initialised for norm in norms)
    state = [norm.bias.clone() for norm in norms]
    model.log_prob(y.flip(0, -1), x.flip(0, -1) / 2, noise_of(y, seed=1))
    assert all(torch.equal(norm.bias, b) for norm, b in zip(norms, state, strict=True))


# -- exact models ----------------------------------------------------------------------------------


@every_factorised
def test_an_exact_model_needs_no_noise(case):
    model, y, x = case.make()
    log_prob = model.log_prob(y, x)
    torch.testing.assert_close(model.importance_log_prob(y, x, 5), log_prob, **EXACT)
    torch.testing.assert_close(model.log_prob(y, x, noise_of(y)), log_prob, **EXACT)


def test_a_flow_without_weights_scores_and_samples():
    flow = ConditionalFlow([GaussianPrior(3)], RawFeatures(3))
    x, y = torch.rand(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    expected = Normal(0.0, 1.0).log_prob(y).sum((1, 2, 3))
    # float32 sums of 48 terms
    torch.testing.assert_close(flow.log_prob(y, x), expected, rtol=0, atol=1e-4)
    assert flow.sample(x, 5).shape == (5, 2, 3, 4, 4)


@pytest.mark.parametrize("kind", ["logistic", "gaussian"])
def test_noise_of_labels_starts_narrow_and_away_from_the_threshold(kind):
    """v = 1/2 +- softplus(2.5 + eps e^s), s = 5 tanh(-1/5): bounded, and -1 before the bound."""
    flow = glow(1, 2, levels=1, steps=1, dequantization="binary", noise=kind).double()
    y = torch.tensor([0.0, 1.0]).double().view(1, 1, 1, 2).expand(3, 1, 2, 2)
    v, _ = flow.layers[0](y, torch.zeros(3, 2, 2, 2).double(), torch.Generator().manual_seed(0))
    draw = getattr(noise, "normal" if kind == "gaussian" else "logistic")
    eps = draw(y.shape, torch.Generator().manual_seed(0), y)
    distance = softplus(2.5 + eps * math.exp(5 * math.tanh(-1 / 5)))
    torch.testing.assert_close(v, 0.5 + (2 * y - 1) * distance)
