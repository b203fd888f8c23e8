"""The small widgets: their formulas against the package, their still twins, a reader's hands."""

import json
import math
import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from book import continuous, two_pixels
from cnf.factorised import weighted_logit
from cnf.features import RawFeatures
from cnf.layers import (
    AffineCoupling,
    BinaryDequantization,
    ConditionalAffine,
    Split,
    Squeeze,
    VariationalDequantization,
)
from cnf.replication import plugs
from tests.browser.conftest import ROOT
from tools import widgets

ClassWeighted = plugs.plug("weighted_likelihood").ClassWeighted

EXACT = 1e-9  # both sides compute in float64
EVERY = [(name, "") for name in dict.fromkeys([*widgets.PICTURES, *widgets.SCRIPTS])]
EVERY += [("samples", "strokes"), ("samples", "vessels")]


@pytest.fixture(scope="module")
def tab(browser):
    context = browser.new_context(
        viewport={"width": 360, "height": 740}, reduced_motion="reduce", has_touch=True
    )
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
def ask(tab):
    """Evaluate one expression over LESSONS, given arguments."""
    widgets.blank(tab, "pair")
    return lambda expression, *given: tab.evaluate(f"(given) => {expression}", given)


@pytest.fixture(autouse=True)
def double():
    """As the lessons have it."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class Fixed(nn.Module):
    """A network whose output is a given function of y_a."""

    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, y_a, h):
        return self.f(y_a, h)


def close(found, expected, error=EXACT):
    np.testing.assert_allclose(found, expected, rtol=0, atol=error)


def test_the_cost_of_a_product_is_the_total_correlation(ask):
    rhos = [0.0, 0.3, 0.9, 0.99]
    own = MultivariateNormal(torch.zeros(2), torch.eye(2))
    for rho, found in zip(rhos, ask("given.map(LESSONS.pairCost)", *rhos), strict=True):
        cov = torch.tensor([[1, rho], [rho, 1]])
        joint = MultivariateNormal(torch.zeros(2), cov)
        close(found, kl_divergence(joint, own).item() / math.log(2))


def test_the_plane_is_bent_by_the_inverse_of_a_coupling(ask):
    scale, shift, bound = 0.6, 0.35, 1.5
    z = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))

    def net(a, h):
        log_s = scale * torch.tanh(a)
        return torch.cat([bound * torch.atanh(log_s / bound), shift * (a * a - 1)], 1)

    layer = AffineCoupling(2, Fixed(net), max_log_scale=bound)
    y, log_det = layer.inverse(z[:, :, None, None])
    carried = "given[0].map((z) => LESSONS.coupling.back(z, given[1], given[2]))"
    close(ask(carried, z.tolist(), scale, shift), y[..., 0, 0])
    log_s = "given[0].map(([a]) => LESSONS.coupling.logS(a, given[1]))"
    close(ask(log_s, z.tolist(), scale), -log_det)


def test_a_file_lies_in_the_interval_of_its_picture(ask):
    pixels = ask("LESSONS.coder.PIXELS")
    for sure in (0.05, 0.25, 0.7, 0.95):
        low, width = Fraction(0), Fraction(1)
        for level in pixels:
            parts = [(1 - Fraction(sure)) / 3] * 4
            parts[level] = Fraction(sure)
            low, width = low + width * sum(parts[:level]), width * parts[level]
        close(ask("LESSONS.coder.interval(given[0])", sure), [float(low), float(width)])
        digits = ask("LESSONS.coder.file(given[0])", sure)
        start, step = Fraction(int(digits, 2), 2 ** len(digits)), Fraction(1, 2 ** len(digits))
        # whatever follows the digits, the number stays in the interval
        assert low - EXACT * width <= start and start + step <= low + width * (1 + EXACT)
        assert len(digits) < -math.log2(width) + 2


def test_the_file_of_the_widget_is_that_of_the_coder_of_its_lesson(ask):
    text = (ROOT / "book/bits-of-a-photograph.md").read_text("utf-8")
    code = text[text.index("def encode(") : text.index("def decode(")]
    lesson = {"SLOTS": 1 << 24}
    exec(code, lesson)
    pixels = ask("LESSONS.coder.PIXELS")
    for sure in (0.05, 0.25, 0.4, 0.7, 0.95):
        shares = [[(1 - sure) / 3] * 4 for _ in pixels]
        for parts, level in zip(shares, pixels, strict=True):
            parts[level] = sure
        tables = [[round(sum(p[:k]) * (1 << 24)) for k in range(5)] for p in shares]
        length, number = lesson["encode"](tables, pixels)
        assert ask("LESSONS.coder.file(given[0])", sure) == f"{number:0{length}b}"


def test_numbers_are_squeezed_and_split_as_by_the_layers(ask):
    stages = ask("LESSONS.stages()")
    t, left = torch.arange(64.0).reshape(1, 1, 8, 8), []
    for k, stage in enumerate(stages):
        if k in (1, 3):
            t = Squeeze()(t)[0]
        elif k == 2:
            layer = Split(t.shape[1])
            left.append(layer.latent(t))
            t = t[:, : layer.num_kept]
        elif k == 4:
            left.append(t)
        shown = [*stage["left"], *([stage["kept"]] if stage["kept"] else [])]
        for part, tensor in zip(shown, [*left, t], strict=k < 4):
            assert part["ids"] == tensor.flatten().int().tolist()
            assert (1, part["channels"], part["side"], part["side"]) == tensor.shape


def test_the_noise_in_a_cell_and_its_gap(ask):
    humps = [(0.55, stats.logistic(0.36, 0.035)), (0.45, stats.logistic(0.70, 0.025))]
    u, middle = np.linspace(0.02, 0.98, 25), ask("LESSONS.cell.M")
    mass = sum(share * (hump.cdf(0.75) - hump.cdf(0.5)) for share, hump in humps)
    posterior = sum(share * hump.pdf((2 + u) / 4) for share, hump in humps) / (4 * mass)
    close(ask("given.map(LESSONS.cell.posterior)", *u.tolist()), posterior)

    def net(y_a, h):
        raw = 5.0 * math.atanh(math.log(s) / 5.0)
        return torch.tensor([raw, middle]).reshape(1, 2, 1, 1).expand(len(h), -1, -1, -1)

    y = torch.full((25, 1, 1, 1), 2.0)
    for s in (0.4, 0.92, 1.6):
        layer = VariationalDequantization([ConditionalAffine(1, Fixed(net))], 4)
        v = torch.from_numpy((2 + u) / 4).reshape(-1, 1, 1, 1)
        log_q = two_pixels.log_q_at(layer, v, y, torch.zeros(25, 1, 1, 1)) - math.log(4)
        w = torch.logit(torch.from_numpy(u)).tolist()
        close(ask("given[0].map((w) => LESSONS.cell.logQ(w, given[1]))", w, s), log_q)
    # what lesson 6 prints: level 2, uniform and fitted noise
    twin = json.loads((ROOT / "book/dequantization.ipynb").read_text("utf-8"))
    printed = " ".join(str(cell.get("outputs", "")) for cell in twin["cells"])
    said = re.search(r"fitted noise.*?    2  [\d.]+ +([\d.]+) +([\d.]+)", printed)
    widths = np.arange(0.2, 2.6, 0.02).tolist()
    close(ask("LESSONS.cell.uniform()"), float(said[1]), 0.005)
    close(min(ask("given.map(LESSONS.cell.gap)", *widths)), float(said[2]), 0.005)


def test_a_label_is_thrown_as_by_the_layer(ask):
    y = torch.tensor([0.0, 1.0]).repeat(10).reshape(-1, 1, 1, 1)
    v, minus_log_q = BinaryDequantization()(y, generator=torch.Generator().manual_seed(0))
    eps = torch.log(torch.expm1((v - 0.5).abs())).flatten().tolist()
    labels = y.flatten().tolist()
    close(ask("given[0].map((e, k) => LESSONS.half.v(e, given[1][k]))", eps, labels), v.flatten())
    close(ask("given.map(LESSONS.half.logQ)", *eps), -minus_log_q)
    log_p = Normal(0.9, 1).log_prob(v).flatten()
    close(ask("given.map(LESSONS.half.logP)", *v.flatten().tolist()), log_p)
    exact = stats.norm(0.9, 1).sf(0.5)
    close(ask("[1, 0].map(LESSONS.half.label)"), [exact, 1 - exact], 1e-7)  # its cdf's accuracy


def test_the_weighted_likelihood_and_class_weights_have_their_optimum_where_shown(ask):
    a = torch.linspace(-20, 20, 41)
    for beta in (0.2, 0.87):
        logit = "given[0].map((a) => LESSONS.weights.logit(a, given[1]))"
        close(ask(logit, a.tolist(), beta), weighted_logit(a, beta))
        p = torch.tensor(ask("LESSONS.weights.p(0.3, given[0])", beta))
        close(weighted_logit(torch.logit(p), beta), math.log(0.3 / 0.7))
        model = ClassWeighted(RawFeatures(1), beta)
        at = ask("LESSONS.weights.unnormalised(0.3, given[0])", beta)
        logit = torch.logit(torch.tensor(at)).requires_grad_()
        model.logit = lambda x, logit=logit: logit.expand(10, 1, 1, 1)
        labels = (torch.arange(10) < 3).reshape(10, 1, 1, 1)
        (slope,) = torch.autograd.grad(model.loss(labels, labels)[0], logit)
        close(slope.item(), 0, 1e-12)


def test_a_velocity_carries_points_and_claims_a_density_as_by_the_solver_of_the_lesson(ask):
    data = ask("LESSONS.motion.DATA")

    def slope(v, t):
        """The mean velocity of the lines that pass v at time t, by Bayes' rule, and its slope."""

        def velocity(v, t):
            goes = weights = 0.0
            for share, m, s in data:
                var, off = t**2 * s**2 + (1 - t) ** 2, v - t * m
                weight = share * Normal(t * m, var**0.5).log_prob(v).exp()
                goes = goes + weight * (m + (t * s**2 - (1 - t)) / var * off)
                weights = weights + weight
            return goes / weights

        u, change = torch.func.jvp(lambda v: velocity(v, t), (v,), (torch.ones_like(v),))
        return u, change

    v = torch.linspace(-3, 3, 13)
    for t in (0.0, 0.4, 1.0):
        found = ask("given[0].map((v) => LESSONS.motion.at(v, given[1]))", v.tolist(), t)
        close(found, torch.stack(slope(v, torch.full_like(v, t)), 1))
    z, total = continuous.solve(slope, v, 1.0, 0.0, 5)
    claimed = "given[0].map((v) => LESSONS.motion.claimed(v, 5, false))"
    close(ask(claimed, v.tolist()), (Normal(0, 1).log_prob(z) + total).exp())
    truth = sum(share * Normal(m, s).log_prob(v).exp() for share, m, s in data)
    # a solver of order 4 with 100 steps
    close(ask(claimed.replace("5", "100"), v.tolist()), truth, 1e-5)
    assert abs(ask("LESSONS.motion.mass(24, false)") - 1) < 1e-3
    # one Euler step claims the same number everywhere
    close(ask("LESSONS.motion.mass(1, true)"), 12 * math.exp(-1) / math.sqrt(2 * math.pi))


@pytest.mark.parametrize("name", widgets.PICTURES)
def test_the_still_twin_is_the_widget_as_it_begins(tab, name):
    number = r"-?\d+(?:\.\d+)?"
    found = widgets.still(tab, name)
    kept = (widgets.STATIC / f"stills/{name}.svg").read_text("utf-8")
    remedy = "run python -m tools.widgets stills"
    assert re.sub(number, "0", found) == re.sub(number, "0", kept), remedy
    pairs = zip(re.findall(number, found), re.findall(number, kept), strict=True)
    # 0.02 units of a picture: what is rounded to two digits may round the other way
    assert all(abs(float(a) - float(b)) < 0.02 for a, b in pairs), remedy


@pytest.mark.parametrize(("name", "draws"), EVERY)
def test_a_reader_moves_it_by_keyboard_and_touch_on_a_phone(tab, name, draws):
    widgets.blank(tab, name, draws)
    tab.evaluate("() => { document.body.style.width = 'auto'; }")
    says = tab.locator(".widget-says")
    assert says.get_attribute("aria-live") == "polite"
    seen = {says.inner_text()}
    slider = tab.locator("input[type=range]").first
    slider.focus()
    assert slider.evaluate("node => parseFloat(getComputedStyle(node).outlineWidth)") >= 3
    for key in ("Home", "ArrowRight", "ArrowRight"):
        tab.keyboard.press(key)
        seen.add(says.inner_text())
        assert slider.get_attribute("aria-valuetext") == tab.locator("output").first.inner_text()
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    before, box = len(seen), slider.bounding_box()
    tab.touchscreen.tap(box["x"] + 0.9 * box["width"], box["y"] + 2)  # at its edge
    seen.add(says.inner_text())
    assert before >= 3 and len(seen) == before + 1, seen
    targets = ".widget-controls :is(input[type=range], button, label:has(input))"
    for control in tab.locator(targets).all():
        assert control.bounding_box()["height"] >= 44
    size = """node => {
        const { a, b } = node.getScreenCTM();
        return parseFloat(getComputedStyle(node).fontSize) * Math.hypot(a, b);
    }"""
    assert all(text.evaluate(size) >= 12 for text in tab.locator("svg text").all())


@pytest.mark.parametrize("name", ["pair", "plane", "noise", "steps"])
def test_on_a_phone_the_controls_stand_between_two_pictures(tab, name):
    widgets.blank(tab, name)
    places = [
        tab.locator(f".widget {part}").bounding_box()["y"]
        for part in ("svg >> nth=0", ".widget-controls", "svg >> nth=1", ".widget-says")
    ]
    assert places == sorted(places)


@pytest.mark.parametrize("name", ["line", "plane"])
def test_a_loop_runs_once_by_itself_unless_motion_is_unwanted_and_a_key_ends_it(browser, name):
    said = {}
    for wish in ("reduce", "no-preference"):
        tab = browser.new_page(viewport={"width": 800, "height": 900}, reduced_motion=wish)
        widgets.blank(tab, name)
        says = tab.locator(".widget-says")
        begins = says.inner_text()
        tab.wait_for_timeout(1500)
        said[wish] = says.inner_text()
        tab.locator("input").first.focus()
        tab.keyboard.press("Shift")
        assert says.inner_text() == begins and says.get_attribute("aria-live") == "polite"
        tab.get_by_role("button", name="Play").click()
        says.filter(has_not_text=begins).wait_for()
        tab.close()
    assert said["reduce"] == begins != said["no-preference"]


def test_the_draws_are_shown_and_averaged(tab):
    widgets.blank(tab, "samples", "vessels")
    given = widgets.read_widget("vessels")
    pixels = """(k) => {
        const canvas = document.querySelectorAll('canvas')[k];
        const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        return [...data].filter((_, j) => j % 4 === 0);
    }"""
    tab.locator("input").focus()
    tab.keyboard.press("Home")
    tab.keyboard.press("ArrowRight")  # draw 2
    for model, one, mean in zip(given["models"], (1, 4), (2, 5), strict=True):
        size = (given["height"], given["width"])
        masks = [widgets.from_hex(text, *size) for text in model["draws"][:2]]
        assert np.array_equal(tab.evaluate(pixels, one), 255 * masks[1].ravel())
        assert np.abs(tab.evaluate(pixels, mean) - 127.5 * sum(masks).ravel()).max() <= 0.5
        assert f"{model['name']}: {model['pieces'][1]}" in tab.locator(".widget-says").inner_text()
