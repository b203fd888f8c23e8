"""Mistakes that the tests must see, as formulas: `make mutants` plants them one at a time.

A mistake names a function or method by its dotted path below `cnf` (or `experiments.NAME`, for its
plug, or `experiments.NAME.FILE`) and says what it does instead, given what is right and the
arguments; of a constant, its value. So the lines of the package may move. A library after a module
(`fused.torch.autograd.grad`) is replaced in that module alone.
"""

import contextlib
import copy
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

# -- words of the formulas -------------------------------------------------------------------------


def negated(right, *a, **k):
    return -right(*a, **k)


def nothing(right, *a, **k):
    return None


def itself(right, argument, *a, **k):
    return argument


def term(change: Callable) -> Callable:
    """What a layer returns, (output, term), with a change of the term, given it and y."""

    def wrong(right, self, y, *a, **k):
        out, value = right(self, y, *a, **k)
        return out, change(value, y)

    return wrong


def then(**values) -> Callable:
    """What is made, with these attributes changed."""
    return lambda right, self, *a, **k: right(self, *a, **k) or self.__dict__.update(values)


def altered(self, **values):
    """A copy whose attributes are others."""
    other = copy.copy(self)
    other.__dict__ |= values
    return other


def uncounted(right, blocks, count, what):
    place = 0
    for block in blocks:
        yield place, block
        place += len(block)


def total(t):
    return t.flatten(1).sum(1)


def area(y):
    return y.shape[-2] * y.shape[-1]


def slope(v):
    """log sigmoid(w) of a binary v = 1/2 +- softplus(w), summed."""
    return total((-(-(v - 0.5).abs()).expm1()).log())


def shifts_late(right, self, z, h=None):
    z_a, z_b = self.split(z)
    log_s, t = self.params(z_a, h)
    return self.join(z_a, z_b * (-log_s).exp() - t), -total(log_s)


def other_root(right, self, z, raw):
    x, w, v, height, d, d_next = self.bin_of(z, raw, by=1)
    y, log_slope = right(self, z, raw)
    s, rise = height / w, self.inside(z) - v
    a = height * (s - d) + rise * (d + d_next - 2 * s)
    return torch.where(y == z, y, x + w * (-s * rise / (a * (y - x) / w))), log_slope


def in_one_pass(right, self, z, h=None):
    turned = self.turned(z)
    y, log_slope = self.spline.inverse(turned, self.net(turned, h))
    return self.turned(y), -log_slope.sum(1)


def steep_ends(right, self, raw):
    knots = right(self, raw)
    ends = torch.zeros_like(knots)
    ends[..., 2, 0] = ends[..., 2, -1] = 0.5
    return knots + ends


def scored_from_itself(right, self, y, h=None):
    mu, log_sigma = self.params(y[:, -self.num_kept :], h)
    normal = torch.distributions.Normal(mu, log_sigma.exp())
    return y[:, : self.num_kept], total(normal.log_prob(self.latent(y)))


def cut(right, self, kept, h, temperature=1.0, generator=None):
    return right(self, kept, h, 1.0, generator)


def squared(right, self, kept, h, temperature=1.0, generator=None):
    return right(self, kept, h, temperature**2, generator)


def reads(change: Callable) -> Callable:
    """The fractions that `ResidualFeatures` reads beside x, x / 256 - 1/2, as `change` of x."""

    def wrong(right, parts, dim=1):
        first, second = parts[0], parts[-1]
        same = len(parts) == 2 and first.shape == second.shape and first.shape[1] == 3
        return right([first, change(256 * (first + 0.5))] if same else parts, dim)

    return wrong


def shared(right, generator, n, batch=None):
    if n == 1 or not isinstance(generator, list) or len(generator) == n * (batch or 0):
        return right(generator, n, batch)
    return [*generator, *(torch.Generator().manual_seed(i) for i in range(1, n) for _ in generator)]


def gradients(change: Callable) -> Callable:
    """What autograd is asked for one step of a chain, with a change of (outputs, seeds, found)."""

    def wrong(right, outputs, inputs, seeds, **k):
        return change(right, outputs, inputs, seeds, k) if k else right(outputs, inputs, seeds)

    return wrong


def forgets_norms(right, self):
    weights, biases, log_abs_det = right(self)
    return weights, biases, log_abs_det - sum(s.actnorm.log_scale.sum() for s in self.steps)


def sees(option: str) -> Callable:
    """A flow of an ablation, built with this option at its default."""

    def wrong(right, *a, **options):
        options[option] = {"prior_sees": "conditional", "couplings_see_x": True}[option]
        return right(*a, **options)

    return wrong


def average_of_parameters(right, average, model, decay):
    pairs = zip(average.parameters(), model.parameters(), strict=True)
    for mean, value in pairs:
        mean.data.lerp_(value.data, 1 - decay)


def quantiles_outward(right, mu, sigma):
    """A Gaussian whose quantile at (k - 1/2) / 9 is that at k / 10."""
    normal = right(mu, sigma)
    return SimpleNamespace(inv_cdf=lambda p: normal.inv_cdf((9 * p + 0.5) / 10))


def bins_alike(right, sums):
    count, p, y = np.split(sums, 3, -1)
    return (np.abs(p - y) / np.maximum(count, 1)).mean(-1)


class Unsorted(list):
    """A list that stays in its order."""

    def sort(self, **k):
        pass


def fewest(rows):
    return [min(rows, key=lambda row: row.num_images)]


def just_above(threshold):
    return np.nextafter(threshold, 2)


def by_prior_weights(right, log_pi, inside, u):
    return right(log_pi, torch.full_like(inside, 9.0), u)[0], right(log_pi, inside, u)[1]


def times(factor: float) -> Callable:
    """A value of a metric, times a factor."""
    return lambda right, *a: (lambda v: v._replace(value=factor * v.value))(right(*a))


def learned_folds(right, self, models):
    right(self, models)
    self.places = {key: len(models) - 1 - place for key, place in self.places.items()}


# -- the mistakes ----------------------------------------------------------------------------------

SSIM = "replication.metrics.pictures.skimage.metrics"
BIJECTIONS = "laws/test_bijections.py::test_the_laws_of_bijections_hold"
LAYERS, FORMULAS, FORMS = "laws/test_layers.py", "laws/test_formulas.py", "laws/test_forms.py"
MODELS, LOOP, PICTURES = (
    "laws/test_models.py",
    "training/test_loop.py",
    "evaluation/test_pictures.py",
)
BOUNDS = "densities/test_bounds.py::test_the_bound_rises_with_the_number_of_samples_and_stays_below"
CONTROLS = "evaluation/test_controls.py"
SUPERRESOLUTION = "evaluation/test_superresolution.py"
VARIANTS, SETS = "evaluation/test_variants.py", "evaluation/test_prediction_sets.py"
WEIGHTS = "densities/test_factorised.py::test_class_weights_are_those_of_scikit_learn"
MANY, CATALOGUE = "training/test_many.py", "data/test_catalogue.py"

# fmt: off
# {tests: [(target, name, wrong), ...]}
PLANTED: dict[str, list[tuple[str, str, Callable]]] = {
    "laws/test_bijections.py": [
        ("layers.ActNorm.log_det", "wrong sign", negated),
        ("layers.ActNorm.log_det", "without H W", lambda right, self, y: right(self, y) / area(y)),
        ("layers.ActNorm.forward", "the shift is not scaled",
         lambda right, self, y, h=None: (y * self.log_scale.exp() + self.bias, self.log_det(y))),
        ("layers.Conv1x1.log_det", "wrong sign", negated),
        ("layers.Conv1x1.log_det", "without H W", lambda right, self, y: right(self, y) / area(y)),
        ("layers.conv1x1.torch.linalg.inv", "the inverse is the transpose", lambda right, w: w.T),
        ("layers.AffineCoupling.forward", "log|det| with the wrong sign", term(lambda t, y: -t)),
        ("layers.AffineCoupling.inverse", "reads its channels backwards",
         lambda right, self, z, h=None: right(self, z.flip(1), h)),
        ("layers.AffineCoupling.inverse", "shifts after it divides", shifts_late),
        ("layers.AffineCoupling.join", "halves come back unflipped",
         lambda right, self, a, b: torch.cat([a, b], 1)),
        ("layers.AffineCoupling.params", "features are ignored",
         lambda right, self, y_a, h: right(self, y_a, None if h is None else 0 * h)),
        ("layers.CheckerboardCoupling.params", "s and t see what they change",
         lambda right, self, y, h: right(self, y + y.sum((1, 2, 3), keepdim=True), h)),
        ("layers.Squeezed.forward", "folded steps have no determinant", term(lambda t, y: 0 * t)),
        ("layers.Residual.log_det", "wrong sign", negated),
        ("layers.Residual.log_det", "without C", lambda right, _, y: right(_, y) / y.shape[1]),
        ("layers.subbands._orthonormal", "bands that are not orthonormal",
         lambda right, rows, basis: 2**0.5 * rows),
    ],
    f"{BIJECTIONS}[SplineCoupling-vector-given_h]": [
        ("layers.curve.log_slope", "log|det| with the wrong sign", negated),
        ("layers.curve.log_slope", "slopes of the two ends of a bin are swapped",
         lambda right, s, d, d_next, *a: right(s, d_next, d, *a)),
        ("layers.curve.Spline.bin_of", "the bin after that of a number",
         lambda right, self, t, raw, by: right(self, t + 1, raw, by)),
        ("layers.curve.Spline.inverse", "the other root of the quadratic equation",
         other_root),
    ],
    f"{BIJECTIONS}[AutoregressiveSpline-given_h]": [
        ("layers.AutoregressiveSpline.inverse", "numbers come back in one pass", in_one_pass),
        ("nets.MaskedLinear.forward", "a number sees itself and those after it",
         lambda right, self, t: torch.nn.functional.linear(t, self.weight, self.bias)),
    ],
    "laws/test_splines.py": [
        ("layers.curve.Spline.knots", "slopes at the ends are not one", steep_ends),
        ("layers.curve.Spline.knots", "slopes stand one knot further on",
         lambda right, self, raw: (lambda k: torch.cat([k[..., :2, :], k[..., 2:, :].roll(1, -1)],
                                                       -2))(right(self, raw))),
    ],
    "densities/test_autoregressive.py": [
        ("nets.CausalConv.__init__", "the yardstick sees the label it predicts",
         lambda right, self, a, b, radius, own: right(self, a, b, radius, True)),
        ("nets.FrontConv.write", "a front sees the labels of a block turned round",
         lambda right, self, front, rows, values:
         right(self, front, rows, values.flip(2) if values.shape[2] == 4 else values)),
        ("nets.CausalNet.head", "a label does not see those of its own block",
         lambda right, self, y, t: right(self, 0 * y, t)),
    ],
    "laws/test_priors.py": [
        ("layers.base.gaussian_log_prob", "log N without log sigma",
         lambda right, z, mu, log_sigma: right(z, mu, log_sigma) + total(log_sigma)),
        ("layers.base.gaussian_log_prob", "log N without (1/2) log 2 pi",
         lambda right, z, *a: right(z, *a) + 0.5 * math.log(2 * math.pi) * z[0].numel()),
        ("layers.Split.sample", "temperature is not applied", cut),
        ("layers.Split.forward", "what leaves is scored from itself", scored_from_itself),
        ("layers.GaussianPrior.sample", "temperature is not applied", cut),
        ("layers.GaussianPrior.sample", "temperature is squared", squared),
        ("layers.AutoregressivePrior.sample", "temperature is not applied", cut),
        ("layers.AutoregressivePrior.params", "weights of a mixture that do not sum to one",
         lambda right, self, out: (out.chunk(3, 2)[0], *right(self, out)[1:])),
    ],
    "laws/test_dequantizations.py": [
        ("layers.UniformDequantization.forward", "D log N is dropped", term(lambda t, y: 0 * t)),
        ("layers.UniformDequantization.forward", "D = H W", term(lambda t, y: t / y.shape[1])),
        ("layers.uniform.into_cell", "v may be rounded into the next cell",
         lambda right, y, u, bins: (y + u) / bins),
        ("layers.variational.F.logsigmoid", "without the Jacobian", lambda right, w: 0 * w),
        ("layers.variational.F.logsigmoid", "half the Jacobian", lambda right, w: right(w) / 2),
        ("layers.variational.with_target", "q does not see y",
         lambda right, y, h, bins: right(0 * y, h, bins)),
        ("layers.BinaryDequantization.forward", "softplus without its Jacobian",
         lambda right, *a: (lambda v, t: (v, t - slope(v)))(*right(*a))),
        ("layers.BinaryDequantization.forward", "its Jacobian with the wrong sign",
         lambda right, *a: (lambda v, t: (v, t - 2 * slope(v)))(*right(*a))),
        ("layers.binary.torch.finfo", "a small distance may vanish in the threshold",
         lambda right, dtype: SimpleNamespace(eps=0.0)),
        ("layers.BinaryDequantization.inverse", "threshold at 0",
         lambda right, self, v: right(self, v + 0.5)),
        ("layers.BinaryDequantization.inverse", "1/2 itself counts as vessel",
         lambda right, self, v: (v >= 0.5).to(v.dtype)),
    ],
    FORMULAS: [
        ("layers.base.torch.tanh", "a bound that does not bound", lambda right, t: t.asinh()),
        ("layers.AffineCoupling.__init__", "flip is ignored", then(flip=False)),
        ("layers.CheckerboardCoupling.changed", "the other colour",
         lambda right, *a: ~right(*a)),
    ],
    f"{LAYERS}::test_actnorm_does_not_start_in_evaluation_or_after_loading": [
        ("layers.ActNorm.__init__", "'initialised' is not stored",
         then(_non_persistent_buffers_set={"initialised"})),
    ],
    f"{LAYERS}::test_actnorm_starts_from_its_first_training_batch_only": [
        ("layers.ActNorm.forward", "every training batch starts it again",
         lambda right, self, *a: (self.initialised.mul_(not self.training), right(self, *a))[1]),
    ],
    "laws/test_noise.py": [
        ("noise._field", "one draw for the whole batch",
         lambda right, sampler, shape, *a: right(sampler, shape, *a)[:1].expand(shape)),
        ("noise.keyed", "keys without the index",
         lambda right, seed, indices, draw=0: right(seed, [0 for _ in indices], draw)),
        ("noise.keyed", "keys without the draw",
         lambda right, seed, indices, draw=0: right(seed, indices)),
        ("noise.Window.parts", "every tile sees the noise of the first corner",
         lambda right, self, *a: right(replace(self, top=0, left=0), *a)),
        ("noise.repeated", "samples after the first share their noise over the batch", shared),
        ("noise.logistic", "logistic noise is 1 % too wide", lambda right, *a: 1.01 * right(*a)),
    ],
    "laws/test_fused.py::test_a_chain_has_the_likelihood_of_its_layers": [
        ("fused.FusedSteps.folded", "the folded bias is not multiplied",
         lambda right, self: (lambda w, b, d: (w, torch.linalg.solve(w, b), d))(*right(self))),
        ("fused.FusedSteps.folded", "the log-determinant forgets the norms", forgets_norms),
    ],
    "laws/test_fused.py::test_a_chain_has_the_gradients_of_its_layers": [
        ("fused._Rebuilt.backward", "rebuilt gradients forget the log-determinant",
         lambda right, ctx, dz, dlog_det: right(ctx, dz, 0 * dlog_det)),
        ("fused.torch.autograd.grad", "the rebuilt gradient of t is scaled", gradients(
            lambda right, outs, ins, seeds, k: right(outs, ins, (2 * seeds[0], *seeds[1:]), **k))),
        ("fused.torch.autograd.grad", "the rebuilt gradient skips the network's input", gradients(
            lambda right, outs, ins, seeds, k: (None, *right(outs, ins, seeds, **k)[1:]))),
        ("fused.torch.autograd.grad", "features receive no rebuilt gradient", gradients(
            lambda right, outs, ins, seeds, k: (*right(outs, ins, seeds, **k)[:-1], None))),
    ],
    "laws/test_fused.py::test_small_levels_keep_their_activations": [
        ("fused.FusedSteps.hidden_bytes", "small levels are rebuilt too", lambda right, *a: 10**12),
    ],
    f"{MODELS}::test_log_prob_is_that_of_its_definition": [
        ("flow.with_levels", "layers get the features of the level before",
         lambda right, parts: [(part, max(level - 1, 0)) for part, level in right(parts)]),
    ],
    f"{MODELS}::test_bits_per_dim_divides_by_the_entries_of_y": [
        ("model.ConditionalModel.bits_per_dim", "D = H W",
         lambda right, self, y, *a: right(self, y, *a) * y.shape[1]),
        ("model.ConditionalModel.bits_per_dim", "by log 10",
         lambda right, *a: right(*a) * math.log(2) / math.log(10)),
    ],
    f"{MODELS}::test_the_loss_is_nats_per_dimension": [
        ("experiments.likelihood_alone.FlowWithPixelLoss.loss", "the pixel loss among the nats",
         lambda right, *a: (lambda loss, logs: (loss, logs | {"nats": loss.detach()}))(*right(*a))),
    ],
    BOUNDS: [
        ("model.ConditionalModel.importance_log_prob", "without - log M",
         lambda right, self, y, x, m, *a: right(self, y, x, m, *a) + math.log(m)),
        ("model.ConditionalModel.importance_log_prob", "the mean of the logarithms",
         lambda right, self, y, x, m, g=None: sum(right(self, y, x, 1, g) for _ in range(m)) / m),
    ],
    f"{MODELS}::test_importance_sampling_averages_the_weights_of_its_draws": [
        ("model.ConditionalModel.importance_log_prob", "keyed generators repeat one draw",
         lambda right, self, y, x, m, g=None: right(self, y, x, m if g is None else 1, g)),
    ],
    "densities/test_factorised.py": [
        ("factorised.discretised_logistic", "half-width 1/256: sums to 2",
         lambda right, y, mu, log_s, half_width=None: right(y, mu, log_s, 1 / 256)),
        ("factorised.torch.where", "end bins are closed", lambda right, where, a, b: b),
        ("factorised.weighted_logit", "1 - beta for beta", lambda right, a, b: right(a, 1 - b)),
        ("factorised.Bernoulli.mean", "p, not q", lambda right, self, x, *a: self.p(x)),
        ("factorised.Bernoulli.entries", "label 0 scored as label 1",
         lambda right, self, y, *a: right(self, torch.ones_like(y), *a)),
    ],
    WEIGHTS: [
        ("experiments.weighted_likelihood.ClassWeighted.loss", "class weights the wrong way round",
         lambda right, self, *a: right(altered(self, beta=1 - self.beta), *a)),
        ("experiments.weighted_likelihood.ClassWeighted.loss", "divided by the mean weight",
         lambda right, self, y, *a: (
            lambda loss, logs: (loss / (y * self.beta + (1 - y) * (1 - self.beta)).mean(), logs)
        )(*right(self, y, *a))),
    ],
    "data/test_degrade.py": [
        ("resample.half_matrix", "every other pixel",
         lambda right, size, device=None: torch.eye(size).double()[::2]),
        ("resample.low_resolution", "x always rounded", lambda right, y, round_x: right(y, True)),
        ("resample.low_resolution", "x rounded half to even",
         lambda right, y, round_x: right(y, 0).clamp(0, 255).round() if round_x else right(y, 0)),
    ],
    FORMS: [
        ("experiments.ablations.flow", "a blind split that sees x", sees("prior_sees")),
        ("experiments.ablations.fixed", "a fixed prior that is learned", itself),
        ("experiments.ablations.flow", "couplings always see x", sees("couplings_see_x")),
        ("nets.CouplingNet.__init__", "coupling inputs not clipped", then(clip=None)),
        ("features.ResidualFeatures.__init__", "features not clipped", then(clip=None)),
    ],
    "laws/test_features.py": [
        ("features.torch.cat", "fractions that are not seen", reads(lambda x: 0 * x)),
        ("features.torch.cat", "fractions with their sign", reads(lambda x: 2 * (x - x.round()))),
        ("features.upsampled", "without half a level", lambda right, x: right(x) - 0.5 / 256),
        ("features.UNetFeatures.forward", "x over 127.5",
         lambda right, self, x: right(self, x * 128 / 127.5)),
        ("factorised.DiscretisedLogistic.condition", "starts without half a level",
         lambda right, self, x: (lambda mu, log_s: [mu + 1 / 512, log_s])(*right(self, x))),
    ],
    "test_referee.py::test_referee_agrees_on_randomised_weights": [
        ("nets.nn.InstanceNorm2d", "instance norm sees the whole batch",
         lambda right, width, affine: nn.BatchNorm2d(width, track_running_stats=False)),
    ],
    # the laboratory
    "data/test_batches.py": [
        ("replication.tasks.super_resolution.noisy", "no picture",
         lambda right, y, rngs, share: right(y, rngs, 0)),
        ("replication.tasks.super_resolution.noisy", "every picture",
         lambda right, y, rngs, share: right(y, rngs, 1)),
        ("replication.data.batches.symmetries", "labels move without their picture",
         lambda right, y, x, *a: (right(y, x, *a)[0], x)),
    ],
    "data/test_eye.py::test_the_largest_bright_region_is_found_with_its_holes_filled": [
        ("replication.data.field_of_view.convex_hull_image", "dark vessels are holes", itself),
    ],
    f"{CATALOGUE}::test_drive_is_split_16_4_20_by_number": [
        ("replication.data.eyes.drive_ids", "validation photographs in training",
         lambda right, fold: right(fold) | {"train": range(21, 41)}),
    ],
    f"{CATALOGUE}::test_a_training_photograph_is_for_validation_by_its_name_alone": [
        ("replication.data.photographs.uniform", "validation photographs by another hash",
         lambda right, name: right(name[::-1])),
    ],
    f"{CATALOGUE}::test_patches_are_cut_from_the_photographs_on_a_grid": [
        ("replication.data.folders.whole", "benchmarks mirrored",
         lambda right, path: (lambda e, odd: (replace(e, y=e.y.flip(-1)), odd))(*right(path))),
    ],
    f"{CATALOGUE}::test_stare_is_twenty_test_pictures_of_the_first_observer": [
        ("replication.data.eyes.to_tensor", "labels beside their picture",
         lambda right, pixels: right(pixels[:, ::-1] if pixels.ndim == 2 else pixels)),
    ],
    "evaluation/test_figures.py::"
    "test_of_sets_that_are_not_ours_only_what_the_models_made_is_shown": [
        ("replication.data.catalogue.CATALOGUE", "photographs of DRIVE are shown",
         lambda right: right | {"drive": replace(right["drive"], shown="pictures")}),
    ],
    "data/test_imagenet.py": [
        ("replication.data.imagenet.held_out", "held-out pictures are others in every call",
         lambda right, count: np.random.default_rng().permutation(right(count))),
        ("replication.data.imagenet._counted", "an incomplete set passes", uncounted),
    ],
    "data/test_inventory.py::test_one_wrong_pixel_is_refused_naming_picture_and_hashes": [
        ("replication.data.inventory.arrays", "only the first picture is verified",
         lambda right, *a: islice(right(*a), 1)),
    ],
    "training/test_recompute.py::test_the_guard_stops_a_flow_that_cannot_be_rebuilt": [
        ("replication.training.guards.check_reconstruction", "the guard never stops a run",
         nothing),
    ],
    f"{LOOP}::test_every_step_has_its_own_noise_and_augmentation": [
        ("replication.training.Run.generator", "every step draws the noise of the first",
         lambda right, self, step: right(self, 0)),
        ("replication.training.run.np.random.default_rng", "pictures are augmented like the first",
         lambda right, key: right(key if key[0] == 0 else [*key[:-1], 0])),
    ],
    f"{LOOP}::test_validation_is_the_mean_bits_per_dim_of_the_averaged_model": [
        ("replication.training.validation.bits_per_dim", "of the last weights",
         lambda right, run, indices: right(altered(run, average=run.model.eval()), indices)),
    ],
    f"{LOOP}::test_the_best_validation_is_kept_and_its_weights_are_the_averaged_ones": [
        ("replication.training.checkpoints.save_weights", "the last weights",
         lambda right, run, path: right(altered(run, average=run.model), path)),
        ("replication.training.loop.validate", "every validation is the best",
         lambda right, run: (setattr(run, "best", math.inf), right(run))[1]),
    ],
    f"{LOOP}::test_the_average_holds_the_statistics_of_batch_norm": [
        ("replication.training.average.update", "without the statistics of batch norm",
         average_of_parameters),
    ],
    f"{LOOP}::test_learning_rate_follows_the_schedule": [
        ("replication.training.optimizers.learning_rate", "no warm-up",
         lambda right, options, *a, **k: right(replace(options, warmup=0), *a, **k)),
    ],
    f"{LOOP}::test_padding_of_vessel_pictures_does_not_count_in_dims": [
        ("replication.training.whole_batch", "padding counts in D",
         lambda right, *a, **k: (lambda y, x, dims: (y, x, y[0].numel()))(*right(*a, **k))),
    ],
    f"{LOOP}::test_a_non_finite_loss_stops_names_the_layer_and_keeps_the_last_good_state": [
        ("replication.training.guards.math.isfinite", "a non-finite loss goes on", lambda *a: True),
    ],
    f"{MANY}::test_gradients_are_those_of_one_process_with_the_joined_batch[sr]": [
        ("replication.training.Run.parts", "every process draws the noise of the first pictures",
         lambda right, *a: [(y, x, replace(rows, start=0)) for y, x, rows in right(*a)]),
    ],
    f"{MANY}::test_an_epoch_shows_every_picture_once_whatever_the_number_of_processes": [
        ("replication.training.Run.batch", "every process takes the same share",
         lambda right, self, step, start=0, size=None: right(self, step, 0, size)),
    ],
    "training/test_files.py::test_a_write_cut_short_leaves_the_old_file": [
        ("replication.run_folder.files.atomic", "a file is replaced before it is whole",
         lambda right, path: contextlib.nullcontext(path)),
    ],
    "training/test_cost.py::test_the_last_validation_of_a_run_counts": [
        ("replication.training.cost.Cost.seconds", "the last validation costs nothing",
         lambda right, self, **k: right(self, **k | {"steps": k["steps"] - 1}) + self.step),
    ],
    f"{PICTURES}::test_what_samples_do_in_the_border_has_no_variance": [
        ("replication.metrics.pictures.inside", "the variance of samples with the border", itself),
    ],
    f"{PICTURES}::test_psnr_is_that_of_the_rounded_y_channel_without_border": [
        ("replication.metrics.pictures.inside", "PSNR with the border", itself),
    ],
    "evaluation/test_ssim.py": [
        (f"{SSIM}.structural_similarity", "SSIM with a uniform window",
         lambda right, *a, **k: right(*a, **k | {"gaussian_weights": False, "win_size": 11})),
        (f"{SSIM}.structural_similarity", "SSIM with sample covariance",
         lambda right, *a, **k: right(*a, **k | {"use_sample_covariance": True})),
    ],
    f"{PICTURES}::test_the_released_pixel_scale_adds_0_034_db_and_its_border_dilutes_errors": [
        ("replication.metrics.pictures.psnr", "the released scale spans 255",
         lambda right, truth, ours, peak: right(truth, ours, peak) - 0.034 * (peak == 1)),
    ],
    "evaluation/test_uncertainty.py": [
        ("replication.metrics.uncertainty.rank", "ties always go below",
         lambda right, y, samples, generator: (samples < y).sum(0)),
        ("replication.metrics.uncertainty.coverage", "an interval is one sample too wide",
         lambda right, ranks: (lambda c: np.r_["-1", c[..., :1], c[..., :-1]])(right(ranks))),
        ("replication.metrics.uncertainty.spread_skill", "the mean of samples is the truth",
         lambda right, moments, n: right(moments, n) * (n / (n + 1)) ** 0.5),
    ],
    "evaluation/test_textures.py": [
        ("replication.metrics.textures.spectrum", "power with the window's loss",
         lambda right, y: (lambda power, number: (power * 9 / 64, number))(*right(y))),
        ("replication.metrics.textures.gradients", "gradients to the right alone",
         lambda right, y: right(np.repeat(y.mean(0)[None], len(y), 0))),
    ],
    f"{SUPERRESOLUTION}::test_consistency_of_a_shift_is_the_shift": [
        ("replication.metrics.pictures.consistency", "of the rounded picture",
         lambda right, picture, x: right(picture.round(), x)),
    ],
    f"{CONTROLS}::test_strengths_are_chosen_on_photographs_that_were_not_counted": [
        ("experiments.controls.without_own", "no photograph is left out",
         lambda right, each: [sum(each)] * len(each)),
    ],
    f"{CONTROLS}::test_the_neighbours_are_the_nearest_and_within_reach": [
        ("experiments.controls.neighbours", "without the farthest column on the right",
         lambda right, n: [(i, j) for i, j in right(40) if j < 4][:n]),
    ],
    "evaluation/test_variants.py::"
    "test_entries_of_a_factorised_model_of_eight_views_are_drawn_independently": [
        ("experiments.orientations.FactorisedMixture.sample_given", "one view for a whole picture",
         lambda right, self, *a, **k: super(type(self), self).sample_given(*a, **k)),
    ],
    "evaluation/test_variants.py::"
    "test_values_of_an_intercept_are_in_the_middle_of_equal_parts": [
        ("experiments.random_intercept.NormalDist", "quantiles at k / (n + 1)", quantiles_outward),
    ],
    f"{VARIANTS}::test_a_sequential_bound_is_the_log_of_a_mean_of_weights": [
        ("experiments.random_intercept.logmeanexp", "the mean of the logarithms",
         lambda right, logs: sum(logs) / len(logs)),
    ],
    f"{VARIANTS}::test_sequential_draws_are_the_prior_cut_to_the_side_of_the_label": [
        ("experiments.sequential_bound.torch.special.ndtr", "half of the side is never drawn",
         lambda right, t: right(t) / 2),
        ("experiments.sequential_bound.component", "by the weights of the prior", by_prior_weights),
    ],
    f"{VARIANTS}::test_each_eye_is_answered_by_the_fold_that_tests_on_it": [
        ("experiments.other_cameras.Unseen.__init__", "by the fold that learned from it",
         learned_folds),
    ],
    "evaluation/test_tasks.py::test_errors_and_spread_of_colours_by_hand": [
        ("experiments.colourisation.chroma_spread", "the biased variance of four samples",
         times((3 / 4) ** 0.5)),
        ("experiments.colourisation.chroma_error", "the error of one sample, not of the mean",
         lambda right, m, s: right(m, replace(s, samples=1))),
    ],
    f"{SETS}::test_a_pixel_at_the_threshold_is_in_the_set_that_is_counted_and_covers": [
        ("experiments.conformal_repair.metrics.vessel_set_size", "p > t",
         lambda right, m, s: right(m, replace(s, threshold=just_above(s.threshold)))),
        ("experiments.conformal_repair.metrics.missed", "p <= t",
         lambda right, m, samples, thresholds: right(m, samples, just_above(thresholds))),
    ],
    "evaluation/test_vessels.py::"
    "test_a_threshold_is_chosen_on_all_validation_pictures_however_few_are_scored": [
        ("replication.scored.thresholds.dataclasses.replace", "on the first pictures alone",
         lambda right, options, **k: right(options, threshold_from=None)),
    ],
    "evaluation/test_vessels.py::test_f_of_a_sample_is_at_the_temperature_that_is_asked_for": [
        ("replication.metrics.vessels.f_sample", "always at temperature 1",
         lambda right, m, s: right(m, replace(s, temperature=1.0))),
    ],
    "evaluation/test_calibration.py::test_images_drawn_again_hold_the_error_of_a_shift": [
        ("replication.metrics.calibration.bootstrap", "the seed is ignored",
         lambda right, sums, *a, **k: right(sums)),
    ],
    f"{SUPERRESOLUTION}::test_values_of_pictures_are_of_the_protocol_of_their_name": [
        ("replication.metrics.superresolution.Pictures.scores", "always the standard protocol",
         lambda right, *a: [s._replace(fidelity=dict.fromkeys(s.fidelity, s.fidelity["standard"]))
                            for s in right(*a)]),
    ],
    "evaluation/test_calibration.py::test_equal_numbers_have_ranks_by_the_seed": [
        ("replication.metrics.calibration.joint", "the seed breaks no ties",
         lambda right, samples, truth, level=0.9, seed=0: right(samples, truth, level)),
    ],
    "training/test_cost.py::test_what_is_extrapolated_is_no_less_than_what_was_measured": [
        ("replication.training.cost._at", "a line through the times may fall",
         lambda right, batch, values: np.polyval(
             np.polyfit(list(values), list(values.values()), 1), batch)),
    ],
    "evaluation/test_tightness.py::test_each_point_is_the_mean_over_disjoint_groups": [
        ("experiments.label_dequantization.tightness.curve", "the spread is that of a population",
         lambda right, log_w, *a: right(log_w, *a)._replace(spread=float(log_w.std(1).mean()))),
    ],
    "evaluation/test_answer.py::test_a_threshold_is_that_of_the_row_of_the_most_pictures": [
        ("replication.answers.sample.select", "the row of the fewest pictures",
         lambda right, rows, **k: fewest(right(rows, **k))),
    ],
    "evaluation/test_answer.py::"
    "test_a_share_that_was_held_is_that_of_the_most_pictures_and_then_samples": [
        ("replication.answers.sample.select", "rows are not sorted",
         lambda right, rows, **k: Unsorted(right(rows, **k))),
    ],
    "results/test_claims.py::test_values_are_paired_by_picture_and_not_by_order": [
        ("replication.results.claims.pictures", "values by their place in the file",
         lambda right, *a: dict(enumerate(right(*a).values()))),
    ],
    f"{LOOP}::test_muon_leaves_what_reads_or_writes_at_most_six_channels_to_adam": [
        ("replication.training.optimizers.MOST_COLOURS", "six channels are hidden ones",
         lambda right: right - 1),
    ],
    "evaluation/test_shapes.py": [
        ("replication.metrics.shapes.skimage.measure.label",
         "pixels that touch by a corner are two pieces",
         lambda right, mask, **k: right(mask, **k | {"connectivity": 1})),
        ("replication.metrics.shapes.inside", "pixels outside the field of view count",
         lambda right, mask, fov: right(mask, fov | True)),
        ("replication.metrics.shapes.np.roll", "a run over the seam of the circle is two",
         lambda right, values, n, *a: right(values, n, *a) if a else np.r_[False, values[:-1]]),
    ],
    "evaluation/test_calibration.py": [
        ("replication.metrics.calibration.table", "pixels that are all but certain count",
         lambda right, p, y, low=0, high=1, *a: right(p, y, 0, 1, *a)),
        ("replication.metrics.calibration.error_of", "bins weigh alike", bins_alike),
    ],
    "evaluation/test_vessels.py::test_half_of_p_is_where_p_is_half": [
        ("replication.metrics.vessels.half_of_p", "of the other class",
         lambda right, beta: right(1 - beta)),
    ],
    "evaluation/test_tiling.py::test_the_margin_is_how_far_a_pixel_sees": [
        ("replication.answers.tiling.flow_reach", "a coarse position counts as a pixel",
         lambda right, layers, *a: right([(layer, 0) for layer, _ in layers], *a)),
    ],
}
# fmt: on
