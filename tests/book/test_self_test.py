"""The questions of the self-test keep their form, and their numbers are computed by the package."""

import math
import re

import numpy as np
import pytest
import torch
import yaml
from scipy import stats
from sklearn.metrics import f1_score
from torch import nn

import cnf
from book._ext import questions
from cnf.factorised import discretised_logistic, weighted_logit
from cnf.layers import ActNorm, AffineCoupling, BinaryDequantization, Conv1x1, UniformDequantization
from cnf.resample import half_matrix  # noqa: F401 - questions.yml uses it

PARTS = yaml.safe_load(questions.FILE.read_text("utf-8"))
ASKED = [
    pytest.param(question, id=f"{part}-{n}")
    for part, asked in PARTS.items()
    for n, question in enumerate(asked, 1)
]
NUMBER = re.compile(r"[-+]?\d+(?:\.(\d+))?")


# -- what an expression under `is` may use ---------------------------------------------------------


def log_det(layer, channels, side):
    """Of a layer at one random picture, in nats."""
    g = torch.Generator().manual_seed(0)
    y = torch.randn(1, channels, side, side, generator=g, dtype=torch.float64)
    with torch.no_grad():
        return layer.double().eval()(y)[1].item()


def actnorm(log_scale):
    layer = ActNorm(1)
    nn.init.constant_(layer.log_scale, log_scale)
    return layer


def conv1x1(matrix):
    layer = Conv1x1(len(matrix))
    layer.matrix.data = torch.tensor(matrix)
    return layer


class Scale(nn.Module):
    """The network of a coupling that scales everything alike and shifts nothing."""

    def __init__(self, log_s):
        super().__init__()
        self.log_s = log_s

    def forward(self, y_a, h):
        return torch.cat([torch.full_like(y_a, self.log_s), torch.zeros_like(y_a)], 1)


def coupling(channels, log_s):
    return AffineCoupling(channels, Scale(log_s), max_log_scale=1e6)  # log s is not bounded


def entropy(p):
    return stats.bernoulli(p).entropy().item() / math.log(2)


def least(loss):
    """Where a function on [0, 1] is least."""
    return min(np.linspace(0, 1, 1001), key=loss)


def normal_log_prob(z):
    return torch.distributions.Normal(0.0, 1.0).log_prob(torch.tensor(float(z))).item()


def leaving(channels, side, levels):
    """How many numbers leave at each level."""
    flow = cnf.glow(channels, 1, levels=levels, steps=1, width=4).eval()
    y, x = torch.zeros(1, channels, side, side), torch.zeros(1, 1, side, side)
    with torch.no_grad():
        latents, _ = flow.encode(y, flow.condition(x))
    return [z.numel() for z in latents]


def dequantized_bits(bins):
    """Of a flow whose density is 1 on the unit cube."""
    _, term = UniformDequantization(bins)(torch.zeros(1, 1, 2, 2))
    return -term.item() / (4 * math.log(2))


def fold_term(label, w):
    """What the fold adds to -log q: the slope of v in w by autograd."""

    class Fixed(BinaryDequantization):
        def sample_noise(self, y, generator):
            return eps, torch.zeros(len(y))

    eps = torch.full((1, 1, 1, 1), w, requires_grad=True)
    v, term = Fixed()(torch.full((1, 1, 1, 1), float(label)))
    (slope,) = torch.autograd.grad(v.sum(), eps)
    assert abs(slope.abs().log().item() - term.item()) < 1e-5  # float32
    return term.item()


def both_above(rho):
    return stats.multivariate_normal([0, 0], [[1, rho], [rho, 1]]).cdf([0, 0])


def weighted_q(beta):
    return torch.sigmoid(weighted_logit(torch.zeros(1), beta)).item()


def pmf_sum(half_width, scale):
    log_s = torch.tensor(math.log(scale))
    levels = torch.arange(256)
    return discretised_logistic(levels, torch.tensor(0.5), log_s, half_width).exp().sum().item()


def rank(matrix):
    return torch.linalg.matrix_rank(matrix).item()


def f_all_vessel(share):
    truth = np.arange(1000) < 1000 * share
    return f1_score(truth, np.ones(1000, bool))


def f_counts(both, only_one, only_other):
    """F of two masks, by the numbers of their pixels."""
    truth = np.repeat([True, False, True], [both, only_one, only_other])
    return f1_score(truth, np.repeat([True, True, False], [both, only_one, only_other]))


def value(expression):
    return eval(expression, {**vars(math), **globals()})


# -- tests -----------------------------------------------------------------------------------------


COMPUTED = [q for q in ASKED if any("is" in answer for answer in q.values[0]["answers"])]


@pytest.mark.parametrize("question", COMPUTED)
def test_a_number_is_what_its_expression_gives(question):
    said = []
    for answer in question["answers"]:
        if "is" not in answer:
            continue
        number = NUMBER.search(answer["say"].replace("−", "-").replace(",", ""))
        half_a_digit = 0.5 * 10.0 ** -len(number[1] or "")
        assert abs(value(answer["is"]) - float(number[0])) <= half_a_digit + 1e-9, answer
        said.append(float(number[0]))
    assert len({*said}) == len(said)  # no slip leads to the right answer


def test_markdown_tells_right_from_wrong_and_says_where_to_read():
    answers = [{"say": "2", "right": "Indeed."}, {"say": "3", "wrong": "One less."}]
    text = questions.markdown(7, {"ask": "1 + 1?\n", "read": "ch-why", "answers": answers})
    assert ":class-body: right-answer\n\n**Right.** Indeed.\n" in text
    assert ":class-body: wrong-answer\n\n**No.** One less. See {ref}`ch-why`.\n" in text


def test_a_recalled_question_is_the_named_one_and_a_wrong_number_says_how_many_there_are():
    asked = [q for part in PARTS.values() for q in part if q["read"] == "ch-why"]
    assert questions.recalled("ch-why 2") == asked[1] != asked[0]
    with pytest.raises(LookupError, match=f"ch-why 9: questions.yml has {len(asked)} questions"):
        questions.recalled("ch-why 9")
