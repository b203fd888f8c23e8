"""Plant mistakes in a copy of the repository, one at a time: the tests must see each of them.

    python tools/mutants.py [WORD ...]   only the mistakes whose name or file holds one of the words

First the tests named below run on the unchanged copy, where they must pass. Then each mistake is
planted alone, and the tests that should see it run until one fails. Exit status 1 if any mistake
survives, or if a copy cannot even be imported (that is seen by everyone and proves nothing).
"""

import argparse
import contextlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import groupby, repeat
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
# Imported once; every test run is a fork of the process that did it, and saves these seconds.
PRELOADED = ["torch", "torchvision", "accelerate", "pytest", "scipy.stats", "skimage.metrics"]
PRELOADED += ["sklearn.metrics", "matplotlib.figure", "pydantic", "yaml", "safetensors.torch"]


class Mutant(NamedTuple):
    """A planted mistake: `text`, which stands once in `file`, becomes `wrong`."""

    name: str
    file: str
    text: str
    wrong: str
    tests: str  # below tests/: a file, or FILE::TEST where the whole file would take long


BIJECTIONS = "laws/test_bijections.py"
PRIORS = "laws/test_priors.py"
DEQUANTIZATIONS = "laws/test_dequantizations.py"
FORMULAS = "laws/test_formulas.py"
LAYERS = "laws/test_layers.py"
NOISE = "laws/test_noise.py"
MODELS = "laws/test_models.py"
FORMS = "laws/test_forms.py"
BOUNDS = "densities/test_bounds.py"
FACTORISED = "densities/test_factorised.py"
BATCHES = "data/test_batches.py"
DEGRADE = "data/test_degrade.py"
SETS = "data/test_sets.py"
REGISTRY = "data/test_registry.py"
IMAGENET = "data/test_imagenet.py"
PICKLES = "data/test_pickles.py"
LOOP = "training/test_loop.py"
MANY = "training/test_many.py"
COST = "training/test_cost.py"
INTERRUPT = "training/test_interrupt.py"
FILES = "training/test_files.py"
CHAIN = "laws/test_chain.py"
RECOMPUTE = "training/test_recompute.py"
LIKELIHOOD = "evaluation/test_likelihood.py"
METRICS = "evaluation/test_metrics.py"
PROTOCOLS = "evaluation/test_protocols.py"
TEXTURES = "evaluation/test_textures.py"
UNCERTAINTY = "evaluation/test_uncertainty.py"
FULL = "evaluation/test_full.py"
TILING = "evaluation/test_tiling.py"
STRESS = "evaluation/test_stress.py"
LEDGER = "results/test_ledger.py"
CLAIMS = "results/test_claims.py"
REFEREE = "test_referee.py::test_referee_agrees_on_randomised_weights"
SHAPES = "evaluation/test_shapes.py"
CALIBRATION = "evaluation/test_calibration.py"
SURVEY = "evaluation/test_vessel_survey.py"
FIGURES = "evaluation/test_figures.py"
EYE = "data/test_eye.py"
KNOWN = "data/test_known.py"
REPRODUCE = "results/test_reproduce.py"
EQUATIONS = "book/test_equations.py"

# {file: [(name, text, wrong, tests), ...]}
PLANTED: dict[str, list[tuple[str, str, str, str]]] = {
    "cnf/layers/actnorm.py": [
        (
            "log|det| with the wrong sign",
            "y.shape[-2] * y.shape[-1] * self.log_scale.sum()",
            "-y.shape[-2] * y.shape[-1] * self.log_scale.sum()",
            BIJECTIONS,
        ),
        (
            "log|det| without H W",
            "y.shape[-2] * y.shape[-1] * self.log_scale.sum()",
            "self.log_scale.sum()",
            BIJECTIONS,
        ),
        (
            "'initialised' is not stored",
            "torch.tensor(False))",
            "torch.tensor(False), persistent=False)",
            f"{LAYERS}::test_actnorm_does_not_start_in_evaluation_or_after_loading",
        ),
        (
            "every training batch starts it again",
            "if self.training and not self.initialised:",
            "if self.training:",
            f"{LAYERS}::test_actnorm_starts_from_its_first_training_batch_only",
        ),
        (
            "the shift is not scaled",
            "(y + self.bias) * self.log_scale.exp()",
            "y * self.log_scale.exp() + self.bias",
            BIJECTIONS,
        ),
    ],
    "cnf/layers/conv1x1.py": [
        (
            "log|det| with the wrong sign",
            "y.shape[-2] * y.shape[-1] * log_abs",
            "-y.shape[-2] * y.shape[-1] * log_abs",
            BIJECTIONS,
        ),
        (
            "log|det| without H W",
            "y.shape[-2] * y.shape[-1] * log_abs",
            "log_abs",
            BIJECTIONS,
        ),
        (
            "the inverse is the transpose, right for the rotation it starts as",
            "torch.linalg.inv(self.weight().double())",
            "self.weight().double().T",
            BIJECTIONS,
        ),
    ],
    "cnf/layers/coupling.py": [
        (
            "log|det| with the wrong sign",
            "self.join(y_a, z_b), sum_except_batch(log_s)",
            "self.join(y_a, z_b), -sum_except_batch(log_s)",
            BIJECTIONS,
        ),
        (
            "the inverse changes the wrong half",
            "z_a, z_b = self.split(z)",
            "z_b, z_a = self.split(z)",
            BIJECTIONS,
        ),
        (
            "halves come back unflipped",
            "[y_b, y_a] if self.flip else [y_a, y_b]",
            "[y_a, y_b]",
            BIJECTIONS,
        ),
        (
            "flip is ignored: a bijection all the same",
            "self.max_log_scale = net, scale, flip, max_log_scale",
            "self.max_log_scale = net, scale, False, max_log_scale",
            FORMULAS,
        ),
        (
            "the inverse shifts after it divides",
            "(z_b - t) * (-log_s).exp()",
            "z_b * (-log_s).exp() - t",
            BIJECTIONS,
        ),
        (
            "features are ignored",
            "self.net(y_a, h)",
            "self.net(y_a, None if h is None else 0 * h)",
            f"{LAYERS}::test_features_are_used_where_the_layer_says_so_and_ignored_elsewhere",
        ),
    ],
    "cnf/layers/checkerboard.py": [
        (
            "sees the positions that it changes",
            "self.net(y.masked_fill(changed, 0.0), h)",
            "self.net(y, h)",
            f"{BIJECTIONS}::test_inverse_undoes_forward",
        ),
        (
            "the other colour changes",
            "== (0 if self.flip else 1)",
            "== (1 if self.flip else 0)",
            f"{FORMULAS}::test_a_checkerboard_coupling_changes_the_odd_positions_and_the_even_when_flipped",
        ),
    ],
    "cnf/layers/squeeze.py": [
        (
            "steps on the folded noise of q have no determinant",
            "return self.squeeze.inverse(z)[0], log_det",
            "return self.squeeze.inverse(z)[0], 0 * log_det",
            f"{BIJECTIONS}::test_log_det_matches_autograd",
        ),
    ],
    "cnf/layers/residual.py": [
        (
            "log|det| with the wrong sign",
            "y[0].numel() * math.log(self.scale)",
            "-y[0].numel() * math.log(self.scale)",
            BIJECTIONS,
        ),
        (
            "log|det| without C",
            "y[0].numel() * math.log(self.scale)",
            "y[0, 0].numel() * math.log(self.scale)",
            BIJECTIONS,
        ),
    ],
    "cnf/layers/subbands.py": [
        (
            "the rows of the low band are not orthonormal",
            "low = _inverse_root(halve @ halve.T) @ halve",
            "low = 2**0.5 * halve",
            BIJECTIONS,
        ),
    ],
    "cnf/layers/base.py": [
        (
            "log N without log sigma",
            "0.5 * eps.square() + log_sigma + 0.5 * math.log(2 * math.pi)",
            "0.5 * eps.square() + 0.5 * math.log(2 * math.pi)",
            PRIORS,
        ),
        (
            "log N without (1/2) log 2 pi",
            "0.5 * eps.square() + log_sigma + 0.5 * math.log(2 * math.pi)",
            "0.5 * eps.square() + log_sigma",
            PRIORS,
        ),
        (
            "bound on log s that does not bound",
            "return bound * torch.tanh(raw / bound)",
            "return bound * torch.asinh(raw / bound)",
            FORMULAS,
        ),
    ],
    "cnf/layers/split.py": [
        (
            "temperature is not applied",
            "mu + temperature * log_sigma.exp() * eps",
            "mu + log_sigma.exp() * eps",
            PRIORS,
        ),
        (
            "the part that leaves is scored from itself",
            "mu, log_sigma = self.params(kept, h)\n        return kept",
            "mu, log_sigma = self.params(y[:, -self.num_kept :], h)\n        return kept",
            PRIORS,
        ),
    ],
    "cnf/layers/prior.py": [
        (
            "temperature is not applied",
            "mu + temperature * log_sigma.exp() * eps",
            "mu + log_sigma.exp() * eps",
            PRIORS,
        ),
        (
            "temperature is squared",
            "mu + temperature * log_sigma.exp() * eps",
            "mu + temperature**2 * log_sigma.exp() * eps",
            PRIORS,
        ),
    ],
    "cnf/layers/uniform.py": [
        (
            "D log N is dropped",
            "constant(y, -y[0].numel() * math.log(self.bins))",
            "constant(y, 0.0)",
            DEQUANTIZATIONS,
        ),
        (
            "D log N with D = H W",
            "constant(y, -y[0].numel() * math.log(self.bins))",
            "constant(y, -y[0, 0].numel() * math.log(self.bins))",
            DEQUANTIZATIONS,
        ),
        (
            "v may be rounded into the next cell",
            "torch.minimum((y + u) / bins, torch.nextafter(end, torch.zeros_like(end)))",
            "torch.minimum((y + u) / bins, end)",
            DEQUANTIZATIONS,
        ),
    ],
    "cnf/layers/variational.py": [
        (
            "the sigmoid without its Jacobian",
            "log_q - sum_except_batch(F.logsigmoid(w) + F.logsigmoid(-w))",
            "log_q",
            DEQUANTIZATIONS,
        ),
        (
            "half the Jacobian of the sigmoid",
            "F.logsigmoid(w) + F.logsigmoid(-w)",
            "F.logsigmoid(w)",
            DEQUANTIZATIONS,
        ),
        (
            "q does not see y",
            "scaled = 2 * y / (bins - 1) - 1",
            "scaled = torch.zeros_like(y)",
            f"{DEQUANTIZATIONS}::test_q_sees_the_target",
        ),
    ],
    "cnf/layers/binary.py": [
        (
            "softplus without its Jacobian",
            "-log_pi + log_det + sum_except_batch(F.logsigmoid(w))",
            "-log_pi + log_det",
            DEQUANTIZATIONS,
        ),
        (
            "log sigmoid(w) with the wrong sign inside",
            "F.logsigmoid(w))",
            "F.logsigmoid(-w))",
            DEQUANTIZATIONS,
        ),
        (
            "log sigmoid(w) with the wrong sign outside",
            "log_det + sum_except_batch(F.logsigmoid(w))",
            "log_det - sum_except_batch(F.logsigmoid(w))",
            DEQUANTIZATIONS,
        ),
        (
            "a small distance may vanish in the threshold",
            ".clamp(min=torch.finfo(w.dtype).eps)",
            "",
            DEQUANTIZATIONS,
        ),
        ("threshold at 0", "(v > 0.5)", "(v > 0)", DEQUANTIZATIONS),
        ("1/2 itself counts as vessel", "(v > 0.5)", "(v >= 0.5)", DEQUANTIZATIONS),
    ],
    "cnf/noise.py": [
        (
            "one draw for the whole batch",
            "return sampler(shape, generator=generator, dtype=torch.float64, device=device)",
            "return sampler((1, *shape[1:]), generator=generator, dtype=torch.float64, "
            "device=device).expand(shape)",
            NOISE,
        ),
        ("keys without the index", "{seed}/{int(index)}/{draw}", "{seed}/{draw}", NOISE),
        (
            "every tile sees the noise of the first corner",
            "top, left = self.top // f, self.left // f",
            "top, left = 0, 0",
            NOISE,
        ),
        ("keys without the draw", "{seed}/{int(index)}/{draw}", "{seed}/{int(index)}", NOISE),
    ],
    "cnf/flow.py": [
        (
            "layers get the features of the level before",
            "level += isinstance(part, Squeeze)",
            "level += isinstance(part, Prior)",
            f"{MODELS}::test_log_prob_is_that_of_its_definition",
        ),
        (
            "importance bound without - log M",
            "terms.logsumexp(0) - math.log(num_samples)",
            "terms.logsumexp(0)",
            f"{BOUNDS}::test_the_bound_rises_with_the_number_of_samples_and_stays_below",
        ),
        (
            "importance bound as the mean of the logarithms",
            "terms.logsumexp(0) - math.log(num_samples)",
            "terms.mean(0)",
            f"{BOUNDS}::test_the_bound_rises_with_the_number_of_samples_and_stays_below",
        ),
        (
            "the auxiliary loss inside the reported nats",
            '{"nats": nats.detach()',
            '{"nats": (nats + self.auxiliary * cross_entropy).detach()',
            f"{MODELS}::test_the_loss_is_nats_per_dimension",
        ),
        (
            "bits divided by D = H W",
            "(y[0].numel() * math.log(2))",
            "(y[0, 0].numel() * math.log(2))",
            f"{MODELS}::test_bits_per_dim_divides_by_the_entries_of_y",
        ),
        (
            "bits by log 10",
            "(y[0].numel() * math.log(2))",
            "(y[0].numel() * math.log(10))",
            f"{MODELS}::test_bits_per_dim_divides_by_the_entries_of_y",
        ),
    ],
    "cnf/baselines.py": [
        (
            "half-width 1/256: sums to 2",
            "HALF_WIDTH = 1 / 512",
            "HALF_WIDTH = 1 / 256",
            FACTORISED,
        ),
        (
            "end bins are closed",
            "torch.where((y == 0) | (y == LEVELS - 1), ends, inside)",
            "inside",
            FACTORISED,
        ),
        (
            "beta where 1 - beta belongs",
            "(1 - beta) * F.softplus(a) - beta * F.softplus(-a)",
            "beta * F.softplus(a) - (1 - beta) * F.softplus(-a)",
            FACTORISED,
        ),
        (
            "the mean of the weighted model is p, not q",
            "torch.sigmoid(self.logit(x))",
            "torch.sigmoid(self.params(x)[1])",
            FACTORISED,
        ),
        (
            "label 0 scored as label 1",
            "F.logsigmoid((2 * y - 1) * logit)",
            "F.logsigmoid((2 * y + 1) * logit)",
            FACTORISED,
        ),
        (
            "class weights the wrong way round",
            "y * self.beta + (1 - y) * (1 - self.beta)",
            "y * (1 - self.beta) + (1 - y) * self.beta",
            f"{FACTORISED}::test_class_weights_are_those_of_scikit_learn",
        ),
        (
            "class weights divided by their mean: another loss",
            "-(weights * log_p).mean(), {",
            "-(weights * log_p).sum() / weights.sum(), {",
            f"{FACTORISED}::test_class_weights_are_those_of_scikit_learn",
        ),
    ],
    "cnf/resample.py": [
        (
            "halving without antialiasing",
            "0.5 * _cubic((source - centre) / 2)",
            "_cubic(source - centre)",
            DEGRADE,
        ),
        (
            "x always rounded",
            "x.clamp(0, 255).add(0.5).floor() if round_x else x",
            "x.clamp(0, 255).add(0.5).floor()",
            DEGRADE,
        ),
    ],
    "cnf/build.py": [
        ("a blind split that sees x", 'h = h if config.prior == "conditional" else 0', "", FORMS),
        ("couplings always see x", "h = h if config.couplings_see_x else 0", "", FORMS),
        ("a fixed prior that is learned", 'if config.prior != "fixed"', "if True", FORMS),
    ],
    "cnf/replication/data/batches.py": [
        ("no noisy pictures", "64 * level * (chosen < share)", "0 * level", BATCHES),
        ("all pictures noisy", "(chosen < share)", "(chosen < 1)", BATCHES),
        (
            "labels move without their picture",
            "torch.where(where, move(x), x)",
            "x",
            BATCHES,
        ),
    ],
    "cnf/replication/data/sets.py": [
        (
            "pictures of the validation split in training",
            '"train": range(21, 37)',
            '"train": range(21, 41)',
            f"{SETS}::test_drive_is_split_16_4_20_by_number",
        ),
    ],
    "cnf/replication/data/folders.py": [
        (
            "benchmarks cropped at the left",
            "pixels[: height - height % 2, : width - width % 2]",
            "pixels[: height - height % 2, width % 2 :]",
            f"{SETS}::test_benchmark_photographs_come_whole_cropped_to_even_sides",
        ),
    ],
    "cnf/replication/data/pickles.py": [
        (
            "a pickle may name anything",
            '            raise _Refused(repr(f"{module}.{name}"[:80]))',
            "            return super().find_class(module, name)",
            f"{PICKLES}::test_code_in_a_pickle_is_refused_by_name_and_does_not_run",
        ),
        (
            "arrays of any dtype",
            "if code not in KINDS:",
            "if False:",
            f"{PICKLES}::test_only_arrays_of_numbers_are_read",
        ),
    ],
    "cnf/replication/data/imagenet.py": [
        (
            "held-out pictures in training",
            "train.write(block[~here])",
            "train.write(np.ascontiguousarray(block))",
            IMAGENET,
        ),
        (
            "an incomplete set passes",
            "    if place != count:",
            "    if place > count:",
            f"{IMAGENET}::test_another_number_of_pictures_than_the_release_has_is_refused",
        ),
    ],
    "cnf/replication/data/registry.py": [
        (
            "any picture verifies",
            "if found != expected[key]:",
            "if False:",
            f"{REGISTRY}::test_one_wrong_pixel_is_refused_naming_picture_and_hashes",
        ),
    ],
    "cnf/fused.py": [
        (
            "folded bias is not multiplied",
            "(weights @ biases[..., None])[..., 0]",
            "biases",
            CHAIN,
        ),
        (
            "log-determinant of a level forgets the norms",
            ".sum() + log_scales.sum()",
            ".sum()",
            CHAIN,
        ),
        (
            "rebuilt gradient of log s forgets the log-determinant",
            "dlog_s = dz_b * y_b * s + dlog_det[:, None, None, None]",
            "dlog_s = dz_b * y_b * s",
            CHAIN,
        ),
        ("rebuilt gradient of t is scaled", "[(t, dz_b),", "[(t, dz_b * s),", CHAIN),
        (
            "rebuilt gradient skips the network's input",
            "dz_a if grads[0] is None else dz_a + grads[0]",
            "dz_a",
            CHAIN,
        ),
        (
            "features receive the last step's gradient alone",
            "dh += grads[-1]",
            "dh = grads[-1]",
            CHAIN,
        ),
        (
            "small levels are rebuilt too",
            " and self.hidden_bytes(y) > REBUILT",
            "",
            CHAIN,
        ),
    ],
    "cnf/replication/cost.py": [
        (
            "the last validation costs nothing",
            "validations = -(-steps // validate_every)",
            "validations = steps // validate_every",
            f"{COST}::test_the_last_validation_of_a_run_counts",
        ),
        (
            "what was extrapolated is printed as measured",
            "    if options.batch_size not in cost.batches:",
            "    if False:",
            f"{COST}::test_an_estimate_says_that_it_is_extrapolated",
        ),
        (
            "arithmetic of training without its gradients",
            "model.loss(y, x, noise())[0].backward()",
            "model.loss(y, x, noise())",
            f"{COST}::test_flops_of_a_baseline_are_those_of_its_layers",
        ),
        (
            "memory at one picture for that of the batch",
            "memory, step, validation = _at(share, peaks), steps.get(wanted), None",
            "memory, step, validation = peaks[1], steps.get(wanted), None",
            f"{COST}::test_memory_is_extrapolated_to_the_batch",
        ),
    ],
    "cnf/replication/run_folder.py": [
        (
            "what a killed run left half-written stays",
            "for left in out.glob(pattern):",
            "for left in ():",
            f"{INTERRUPT}::test_what_a_killed_run_left_half_written_is_deleted_and_nothing_else",
        ),
        (
            "a file is replaced before it is whole",
            'part = path.with_name(path.name + ".tmp")',
            "part = path",
            f"{FILES}::test_a_write_cut_short_leaves_the_old_file",
        ),
    ],
    "cnf/replication/training.py": [
        (
            "the guard never stops a run",
            "if error > bound:",
            "if False:",
            RECOMPUTE,
        ),
        (
            "every step draws the noise of the first",
            "noise.keyed(self.seed, [step], TRAINING_NOISE)",
            "noise.keyed(self.seed, [0], TRAINING_NOISE)",
            f"{LOOP}::test_every_step_has_its_own_noise_and_augmentation",
        ),
        (
            "every step augments like the first",
            "np.random.default_rng([1, self.seed, place])",
            "np.random.default_rng([1, self.seed, place - first])",
            f"{LOOP}::test_every_step_has_its_own_noise_and_augmentation",
        ),
        (
            "every process draws the noise of the first pictures",
            "options.batch_size, start)",
            "options.batch_size, 0)",
            f"{MANY}::test_gradients_are_those_of_one_process_with_the_joined_batch",
        ),
        (
            "every process takes the same share",
            "first = many.rank() * options.accumulate * size",
            "first = 0",
            f"{MANY}::test_an_epoch_shows_every_picture_once_whatever_the_number_of_processes",
        ),
        (
            "micro-batches count in full",
            "self.accelerator.backward(loss / len(parts))",
            "self.accelerator.backward(loss)",
            f"{MANY}::test_micro_batches_of_one_process_give_the_gradient_of_the_batch",
        ),
        (
            "validation scores the last weights, not the averaged ones",
            "self.average.log_prob(",
            "self.model.log_prob(",
            f"{LOOP}::test_validation_is_the_mean_bits_per_dim_of_the_averaged_model",
        ),
        (
            "the last weights are saved, not the averaged ones",
            "self.average.save(part",
            "self.model.save(part",
            f"{LOOP}::test_the_best_validation_is_kept_and_its_weights_are_the_averaged_ones",
        ),
        (
            "no warm-up",
            "min(1.0, (step + 1) / options.warmup) if options.warmup else 1.0",
            "1.0",
            f"{LOOP}::test_learning_rate_follows_the_schedule",
        ),
        (
            "the worst validation is kept",
            "value < self.best",
            "value > self.best",
            f"{LOOP}::test_the_best_validation_is_kept_and_its_weights_are_the_averaged_ones",
        ),
        (
            "padding counts in D",
            "return y, x, dims",
            "return y, x, y[0].numel()",
            f"{LOOP}::test_padding_of_vessel_pictures_does_not_count_in_dims",
        ),
        (
            "a non-finite loss goes on",
            'if not (math.isfinite(logs["loss"]) and math.isfinite(logs["grad_norm"])):',
            "if False:",
            f"{LOOP}::test_a_non_finite_loss_stops_names_the_layer_and_keeps_the_last_good_state",
        ),
    ],
    "cnf/replication/distributed.py": [
        (
            "what an error elsewhere said is lost",
            "error = kind(text)",
            "error = TrainingError(kind.__name__)",
            f"{MANY}::test_an_error_of_one_process_ends_all_with_its_message",
        ),
    ],
    "cnf/nets.py": [
        (
            "instance norm inside networks sees the whole batch",
            "nn.InstanceNorm2d(width, affine=True)",
            "nn.BatchNorm2d(width, track_running_stats=False)",
            REFEREE,
        ),
        ("coupling inputs not clipped", "if self.clip and y_a is not None", "if False", FORMS),
        ("features not clipped", "if self.clip:", "if False:", FORMS),
        ("fractions that are not seen", "2 * (x - x.round()).abs()", "0 * x", FORMS),
        (
            "batch norm sees its own process only",
            "part.joined = many.count() > 1",
            "part.joined = False",
            f"{MANY}::test_batch_norm_joins_the_statistics_of_all_processes",
        ),
    ],
    "cnf/replication/scored_model.py": [
        (
            "the baseline pays for padding",
            "if tuple(y.shape[-2:]) == (height, width) or not isinstance(model, Factorised):",
            "if True:",
            f"{LIKELIHOOD}::test_factorised_model_does_not_pay_for_padding",
        ),
        (
            "every noise draw is the first",
            "noise.keyed(self.options.seed, indices, d)",
            "noise.keyed(self.options.seed, indices, 0)",
            f"{LIKELIHOOD}::test_draws_are_averaged",
        ),
        (
            "every chunk of samples sees the noise of the first",
            "part = keyed[start * batch : stop * batch]",
            "part = keyed[: (stop - start) * batch]",
            f"{METRICS}::test_samples_come_a_few_at_a_time_and_stay_the_same",
        ),
    ],
    "cnf/replication/metrics/pictures.py": [
        (
            "PSNR with the border",
            "border = (slice(SCALE, -SCALE),) * 2",
            "border = (slice(None),) * 2",
            f"{METRICS}::test_psnr_is_that_of_the_rounded_y_channel_without_border",
        ),
        (
            "the released scale spans 255",
            "(p.double() / 256)",
            "(p.double() / 255)",
            f"{PROTOCOLS}::test_the_released_pixel_scale_adds_0_034_db_and_its_border_dilutes_errors",
        ),
    ],
    "cnf/replication/metrics/uncertainty.py": [
        (
            "ties always go below",
            "return below + torch.floor(u * (equal + 1)).long()",
            "return below",
            f"{UNCERTAINTY}::test_samples_of_the_true_distribution_are_calibrated",
        ),
        (
            "an interval is one sample wider than it says",
            "shares = [ranks[..., k : n - k + 1].sum(-1) for k in range(n // 2 + 1)]",
            "shares = [ranks[..., max(k - 1, 0) : n - k + 1].sum(-1) for k in range(n // 2 + 1)]",
            f"{UNCERTAINTY}::test_ranks_and_coverage_by_hand",
        ),
        (
            "the mean of samples is taken for the truth",
            "return np.sqrt((n + 1) / n * moments[..., 1]",
            "return np.sqrt(moments[..., 1]",
            f"{UNCERTAINTY}::test_samples_of_the_true_distribution_are_calibrated",
        ),
    ],
    "cnf/replication/metrics/textures.py": [
        (
            "power with the window's loss",
            "** 2 / (window**2).sum()",
            "** 2 / window.size",
            f"{TEXTURES}::test_white_noise_has_its_variance_at_every_frequency",
        ),
        (
            "gradients to the right alone",
            "for axis in (0, 1)])",
            "for axis in (1,)])",
            f"{TEXTURES}::test_gradients_of_a_ramp_are_its_slopes",
        ),
    ],
    "cnf/replication/metrics/survey.py": [
        (
            "every temperature is scored by the samples of the first",
            'return subject.once(("drawn", temperature, n), compute)',
            'return subject.once(("drawn", n), compute)',
            f"{FULL}::test_all_comes_from_one_pass_a_temperature",
        ),
        (
            "protocols change places",
            'return "standard" if subject.rounded_x else "released"',
            'return "released" if subject.rounded_x else "standard"',
            f"{PROTOCOLS}::test_protocol_follows_x",
        ),
    ],
    "cnf/replication/metrics/vessels.py": [
        (
            "F outside the field of view too",
            "p[0].numpy()[fov] >= threshold, truth_of(subject, index)[fov]",
            "p[0].numpy() >= threshold, truth_of(subject, index)",
            f"{METRICS}::test_pixels_outside_the_field_of_view_never_count",
        ),
        (
            "the threshold is chosen on the test pictures",
            "best_threshold(*pooled(valid, valid.means(samples)))",
            "best_threshold(*pooled(subject, means))",
            f"{METRICS}::test_validation_split_chooses_the_threshold",
        ),
    ],
    "cnf/replication/metrics/shapes.py": [
        (
            "pixels that touch by a corner are two pieces",
            "measure.label(mask, return_num=True, connectivity=2)",
            "measure.label(mask, return_num=True, connectivity=1)",
            f"{SHAPES}::test_pieces_and_euler_number_agree_with_flood_fill_and_scikit_image",
        ),
        (
            "pixels outside the field of view count",
            "return (mask > 0) & (fov > 0)",
            "return mask > 0",
            f"{SHAPES}::test_only_pixels_in_view_count",
        ),
        (
            "a run over the seam of the circle is two",
            "values & ~np.roll(values, 1)",
            "values & ~np.r_[False, values[:-1]]",
            f"{SHAPES}::test_runs_close_the_line",
        ),
        (
            "clDice of centre lines against centre lines",
            "(true_lines & mask).sum()",
            "(true_lines & lines).sum()",
            f"{SHAPES}::test_cldice_of_bars_is_what_their_centre_lines_say",
        ),
    ],
    "cnf/replication/metrics/calibration.py": [
        (
            "bins of equal width",
            "np.floor(bins * middle).astype(int)",
            "np.floor(bins * values.clip(0, 0.999)).astype(int)",
            f"{CALIBRATION}::test_bins_without_ties_agree_with_scikit_learn",
        ),
        (
            "pixels that are all but certain count",
            "(p >= low) & (p <= high)",
            "(p >= 0) & (p <= 1)",
            f"{CALIBRATION}::test_only_doubtful_pixels_count",
        ),
        (
            "bins weigh alike, however many pixels they hold",
            "np.abs(p - y).sum(-1) / count.sum(-1)",
            "(np.abs(p - y) / np.maximum(count, 1)).mean(-1)",
            CALIBRATION,
        ),
    ],
    "cnf/replication/metrics/vessel_survey.py": [
        (
            "the least likely of the samples is scored",
            "np.argmax(f.log_probs)",
            "np.argmin(f.log_probs)",
            f"{SURVEY}::test_the_likeliest_sample_is_scored",
        ),
        (
            "p = 1/2 of the other class",
            "1 / (1 + 2 ** (2 * beta - 1))",
            "1 / (1 + 2 ** (1 - 2 * beta))",
            f"{SURVEY}::test_half_of_p_is_where_p_is_half",
        ),
    ],
    "cnf/replication/data/field_of_view.py": [
        (
            "dark vessels are holes in the field of view",
            "return convex_hull_image(parts == sizes.argmax() + 1)",
            "return parts == sizes.argmax() + 1",
            f"{EYE}::test_the_largest_bright_region_is_found_with_its_holes_filled",
        ),
    ],
    "cnf/replication/figures.py": [
        (
            "photographs of DRIVE are shown",
            '"drive": None,',
            '"drive": "DRIVE",',
            f"{FIGURES}::test_of_sets_that_are_not_ours_only_what_the_models_made_is_shown",
        ),
    ],
    "cnf/replication/claims.py": [
        ("a rule that does not hold passes", "if not left < right:", "if False:", CLAIMS),
        (
            "rows are compared with those of any split",
            'wanted = {"split": "test"} | wanted',
            "wanted = dict(wanted)",
            CLAIMS,
        ),
    ],
    "cnf/replication/tiling.py": [
        (
            "a coarse position counts as a pixel",
            "reach + position * radius(net.from_y, net.middle, net.last)",
            "reach + radius(net.from_y, net.middle, net.last)",
            f"{TILING}::test_the_margin_is_how_far_a_pixel_sees",
        ),
    ],
    "cnf/replication/stress.py": [
        (
            "NaN counts as inside the range",
            "(~((v >= low) & (v < 1 + low))).sum()",
            "((v < low) | (v >= 1 + low)).sum()",
            f"{STRESS}::test_counts_are_those_of_the_samples",
        ),
    ],
    "cnf/replication/data/known.py": [
        (
            "the colours' axes are others",
            "[[1, 1, 1], [-1, 1, 1], [0, -2, 1]]",
            "[[1, 1, 1], [1, -1, 1], [-2, 0, 1]]",
            f"{KNOWN}::test_a_seed_draws_the_same_pictures_on_every_machine",
        ),
        (
            "grey has the variance of colours",
            "values = torch.tensor([less, less, 3 - 2 * less]",
            "values = torch.tensor([less, less, less]",
            KNOWN,
        ),
    ],
    "cnf/replication/reproduce.py": [
        (
            "a row that was replaced is shown",
            "while text in newer:",
            "while False:",
            f"{REPRODUCE}::test_a_row_is_found_by_its_id_by_its_value_and_by_an_id_it_superseded",
        ),
        (
            "an ablation is trained as the whole model",
            "for change in CHANGES:",
            "for change in CHANGES[:1]:",
            f"{REPRODUCE}::test_every_row_of_the_ledger_leads_to_a_command_and_its_cost",
        ),
    ],
    "book/_ext/ties.py": [
        (
            "a citation without a test is fine",
            "for label in sorted(self.code.keys() - self.tests.keys()):",
            "for label in ():",
            f"{EQUATIONS}::test_a_broken_tie_is_named",
        ),
        (
            "a label may stand twice",
            "if len(where) > 1:",
            "if False:",
            f"{EQUATIONS}::test_a_broken_tie_is_named",
        ),
    ],
    "cnf/replication/ledger.py": [
        ("an id may be there twice", "if row.id in ids:", "if False:", LEDGER),
        (
            "a bound is printed as if it were exact",
            'return self.bound not in (None, "exact")',
            "return False",
            LEDGER,
        ),
    ],
}
MUTANTS = [Mutant(row[0], file, *row[1:]) for file, rows in PLANTED.items() for row in rows]


class Outcome(NamedTuple):
    """What a run of the tests said."""

    failed: list[str]  # tests, by node id
    broken: list[str]  # what pytest could not collect, or its own complaint
    seconds: float


def plant(mutant: Mutant, source: str) -> str:
    """The source with the mistake. Raises ValueError unless the text stands there exactly once."""
    if source.count(mutant.text) != 1:
        raise ValueError(
            f"{mutant.file}, '{mutant.name}': its text stands there {source.count(mutant.text)} "
            f"times, not once; bring tools/mutants.py up to date: {mutant.text}"
        )
    return source.replace(mutant.text, mutant.wrong)


def copy_repository(folder: Path) -> None:
    """What the tests need: no image sets, no weights, no pictures, no executed pages."""
    ignore = shutil.ignore_patterns("__pycache__", "*.safetensors", "*.png", "scores", "*.ipynb")
    for name in ("cnf", "configs", "tests", "results", "book"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    for name in (".", "data"):
        (folder / name).mkdir(exist_ok=True)
        for file in (p for p in (ROOT / name).iterdir() if p.is_file()):
            shutil.copy2(file, folder / name)


def attempt(tests: Sequence[str], mutant: Mutant | None) -> Outcome:
    """Run tests in a copy of the repository, with a mistake until the first failure.

    Needs a process of its own, for it imports the package from the copy.
    """
    import pytest

    failed: list[str] = []
    broken: list[str] = []

    class Watch:
        def pytest_runtest_logreport(self, report):
            if report.failed:
                failed.append(report.nodeid)

        def pytest_collectreport(self, report):
            if report.failed:
                broken.append(str(report.longrepr).strip().splitlines()[-1])

    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="mutant-") as place,
        open(os.devnull, "w") as null,
        contextlib.redirect_stdout(null),
        contextlib.redirect_stderr(null),
    ):
        folder = Path(place).resolve()
        copy_repository(folder)
        if mutant:
            path = folder / mutant.file
            path.write_text(plant(mutant, path.read_text()))
        os.chdir(folder)
        options = ["-q", "-p", "no:cacheprovider", *["-x"] * bool(mutant)]
        code = pytest.main(options + [f"tests/{name}" for name in tests], [Watch()])
        origin = Path(sys.modules["cnf"].__file__).parent if "cnf" in sys.modules else None
        if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) and not broken:
            broken.append(f"pytest ended with {code!r}")
        elif not broken and origin != folder / "cnf":
            broken.append(f"cnf was imported from {origin}, not from the copy")
        os.chdir(ROOT)
    return Outcome(failed, broken, time.monotonic() - started)


def run(mutants: Sequence[Mutant], jobs: int) -> int:
    """Print the table; returns how many mistakes were not caught by a failing test."""
    started = time.monotonic()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1) as pool:
        needed = sorted({mutant.tests for mutant in mutants})
        groups = [list(g) for _, g in groupby(needed, lambda tests: tests.split("::")[0])]
        print("Unchanged, these must pass:", flush=True)
        bad = 0
        for tests, outcome in zip(groups, pool.map(attempt, groups, repeat(None)), strict=True):
            complaints = outcome.broken + outcome.failed
            bad += bool(complaints)
            said = f"FAILED: {complaints[0]}" if complaints else "passes"
            print(f"{outcome.seconds:6.1f} s  {tests[0].split('::')[0]}  {said}", flush=True)
        if bad:
            return bad
        print("\nMistake, and the first test that sees it:", flush=True)
        needed = [[mutant.tests] for mutant in mutants]
        for mutant, outcome in zip(mutants, pool.map(attempt, needed, mutants), strict=True):
            caught = outcome.failed and not outcome.broken
            bad += not caught
            where = mutant.file.removeprefix("cnf/")
            said = outcome.failed[0].removeprefix("tests/") if caught else "SURVIVED"
            if outcome.broken:
                said = f"BROKEN: {outcome.broken[0]}"
            print(f"{outcome.seconds:6.1f} s  {where}: {mutant.name}\n{'':10}{said}", flush=True)
    minutes = (time.monotonic() - started) / 60
    print(f"\n{len(mutants) - bad} of {len(mutants)} mistakes caught, in {minutes:.1f} min")
    return bad


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("words", nargs="*", metavar="WORD", help="only mistakes that hold one")
    parser.add_argument("--jobs", type=int, default=2, help="mistakes at a time, each in its copy")
    arguments = parser.parse_args()
    words = arguments.words or [""]
    chosen = [m for m in MUTANTS if any(word in f"{m.file}: {m.name}" for word in words)]
    if not chosen:
        print(f"error: no mistake holds {' or '.join(words)}", file=sys.stderr)
        return 2
    try:
        for mutant in chosen:
            plant(mutant, (ROOT / mutant.file).read_text())
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    os.environ.pop("CNF_DATA", None)
    # Two mistakes of one second and one length would share a .pyc
    os.environ.update(OMP_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1")
    return 1 if run(chosen, arguments.jobs) else 0


if __name__ == "__main__":
    sys.exit(main())
