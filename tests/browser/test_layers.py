"""The flow of lesson 9 and the released one in the page, layer by layer, against torch; which law
sees a mistake."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from book import one_file_full
from cnf.flow import with_levels
from cnf.layers import Conv1x1
from cnf.replication import releases
from tools import live, widgets

ERROR = 1e-9  # float64 on both sides, from the same weights in float16
FOLDED = 1e-5  # float64, too, but ActNorm and Conv1x1 became one matrix in float32
START = """
([{ model, weights }, channels, side, x]) => {
    const bytes = Uint8Array.from(atob(weights), (letter) => letter.charCodeAt(0));
    window.flow = STEP.build(model, bytes);
    window.h = flow.features(STEP.tensor(channels, side, Float64Array.from(x)));
    window.plain = (states) => states.map((t) => [...t.data]);
    return plain(Object.values(h));
}
"""
FORTH = """
([side, y, eps]) => {
    const path = flow.forth(STEP.tensor(1, side, Float64Array.from(y)), h, Float64Array.from(eps));
    return [plain(path.states), path.terms, plain(flow.back(h, path.left).states)];
}
"""
BACK = "([z, tau]) => plain(flow.back(h, null, tau, () => z.shift()).states)"
LAYERS = {"layers": 38, "vesselLayers": 34}  # whose Jacobian is measured


def opened(browser, name):
    context = browser.new_context(viewport={"width": 390, "height": 844}, reduced_motion="reduce")
    tab = context.new_page()
    widgets.blank(tab, name)
    return tab


@pytest.fixture(scope="module")
def tabs(browser):
    tabs = {name: opened(browser, name) for name in LAYERS}
    yield tabs
    for tab in tabs.values():
        tab.context.close()


@pytest.fixture
def tab(tabs):
    return tabs["layers"]


def close(found, expected, error=ERROR):
    np.testing.assert_allclose(found, expected.flatten(), rtol=error, atol=error)


def drawing(tab):
    """The second drawing of the page and its x; h in the page, by level from 4x4 on."""
    example = tab.evaluate("STROKES.examples[1]")
    features = tab.evaluate(f"(x) => ({START})([STROKES, 1, 4, x])", example["x"])
    x = torch.tensor(example["x"]).double().view(1, 1, 4, 4)
    y = torch.from_numpy(widgets.from_hex(example["y"], 16, 16)).double()[None, None]
    return x, y, features


@torch.no_grad()
def test_every_layer_gives_what_it_gives_in_torch(tab, monkeypatch):
    flow = one_file_full.load()[0]["flow"].double()
    x, y, features = drawing(tab)
    h = flow.features(x)
    for ours, side in zip(features, (4, 8), strict=True):
        close(ours, h[side])

    noise = torch.rand(y.shape, generator=torch.Generator().manual_seed(0)).double()
    monkeypatch.setattr(torch, "rand_like", lambda t: noise)
    eps = noise.logit(eps=1e-6).flatten().tolist()
    states, terms, again = tab.evaluate(FORTH, [16, y.flatten().tolist(), eps])
    assert len(states) == len(flow.layers) + 1
    t = y
    for k, layer in enumerate(flow.layers):
        t, term = layer(t, h[t.shape[-1]])
        close(states[k + 1], t)
        close(terms[k], term)
    for ours, back in zip(states, again, strict=True):
        close(back, torch.tensor(ours, dtype=torch.float64))

    normal = torch.randn(256, generator=torch.Generator().manual_seed(1)).double()
    drawn = list(normal.split(128))
    monkeypatch.setattr(torch, "randn_like", lambda t: drawn.pop(0).view(t.shape))
    sampled = tab.evaluate(BACK, [normal.tolist(), 0.8])
    z = x[:, :0]
    for k in reversed(range(len(flow.layers))):
        z = flow.layers[k].back(z, h[z.shape[-1]], 0.8)
        close(sampled[k], z)


@torch.no_grad()
def test_every_layer_of_the_released_flow_gives_what_it_gives_in_the_package(tabs):
    flow = releases.load(live.RUNS["vessels"])
    live.rounded(flow)
    flow.double()
    tab, part = tabs["vesselLayers"], np.s_[..., 12:36, 12:36]
    example = tab.evaluate("EYES[0]")
    x = torch.frombuffer(bytearray.fromhex(example["x"]), dtype=torch.uint8).view(1, 3, 48, 48)
    y = torch.from_numpy(widgets.from_hex(example["y"], 48, 48))[None, None]
    x, y = x[part].double(), y[part].double()
    given = x.flatten().tolist()
    features = tab.evaluate(f"(x) => ({START})([LIVE.vessels, 3, 24, x])", given)
    h = flow.condition(x)
    for ours, map_of_level in zip(features, reversed(h), strict=True):
        close(ours, map_of_level, FOLDED)

    seeded = torch.Generator().manual_seed
    eps, _ = flow.layers[0].sample_noise(y, seeded(0))
    given = [24, y.flatten().tolist(), eps.flatten().tolist()]
    states, terms, again = tab.evaluate(FORTH, given)
    expected, t = [], y
    for layer, level in with_levels(flow.layers):
        t, term = layer(t, h[level], *([] if expected else [seeded(0)]))
        if isinstance(layer, Conv1x1):  # one layer of the page with the ActNorm before it
            term = term + expected.pop()[1]
        expected.append((t, term))
    for ours, its_term, (state, term) in zip(states[1:], terms, expected, strict=True):
        close(ours, state if state is not None else torch.zeros(0), FOLDED)
        close(its_term, term, FOLDED)
    assert abs(sum(terms) - flow.log_prob_given(y, h, seeded(0)).item()) < 1e-4
    for ours, back in zip(states, again, strict=True):
        close(back, torch.tensor(ours, dtype=torch.float64))

    latents, _ = flow.encode(y, h, seeded(0))
    generator = seeded(1)
    draws = [torch.randn(t.shape, generator=generator, dtype=torch.float64) for t in latents[::-1]]
    z = torch.cat([t.flatten() for t in draws]).tolist()
    v = flow.sample_given(h, 1, 0.8, seeded(1))
    close(tab.evaluate(BACK, [z, 0.8])[1], v, FOLDED)


@torch.no_grad()
def test_the_jacobian_that_is_measured_is_that_of_the_layer(tab):
    drawing(tab)
    found, term = tab.evaluate(
        """() => {
            const y = STEP.tensor(8, 4, Float64Array.from({ length: 128 }, (_, k) => Math.sin(k)));
            const rows = Array.from(y.data, (_, j) => flow.slope(24, y, h, j));
            return [STEP.logDet(rows), flow.layers[24].forward(y, h[4]).term];
        }"""
    )
    assert abs(found - term) < 1e-5


def test_squeeze_is_pixel_unshuffle(tab):
    y = torch.arange(256.0).view(1, 1, 16, 16)
    made = tab.evaluate(
        "(y) => [...STEP.squeeze(STEP.tensor(1, 16, Float64Array.from(y))).data]",
        y.flatten().tolist(),
    )
    assert made == F.pixel_unshuffle(y, 2).flatten().tolist()


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(
    ("choice", "law"), [("a term's sign", 1), ("the order of channels", 0), ("the threshold", 2)]
)
def test_one_law_notices_each_mistake_and_the_others_hold(tabs, name, choice, law):
    tab, count = tabs[name], LAYERS[name]
    tab.get_by_text(choice, exact=True).click()
    lines = tab.locator(".step-laws li")
    lines.nth(1).filter(has_text="coupling says" if law == 1 else f"{count} of {count}").wait_for()
    assert [line[0] for line in lines.all_inner_texts()] == [
        "✗" if k == law else "✓" for k in range(3)
    ]
    assert "Broken: " in tab.locator(".widget-says").inner_text()
    tab.get_by_text("nothing", exact=True).click()
    lines.nth(1).filter(has_text=f"{count} of {count}").wait_for()
    assert tab.locator(".step-laws .fails").count() == 0


def test_a_reader_steps_there_and_back_by_keys(tab):
    says, slider = tab.locator(".widget-says"), tab.get_by_label("layers done")
    slider.focus()
    tab.keyboard.press("End")
    assert "All terms: log₂ p = −" in says.inner_text() and "costs at most" in says.inner_text()
    tab.get_by_text("z to a sample", exact=True).click()
    assert "so this sample costs" in says.inner_text()
    tab.get_by_label("temperature of samples").focus()
    before = says.inner_text()
    tab.keyboard.press("Home")
    assert says.inner_text() != before
    tab.get_by_text("a drawing to z", exact=True).click()
