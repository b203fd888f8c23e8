"""The flow of lesson 9 in the page, layer by layer, against torch; which law sees a mistake."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from book import one_file_full
from tools import widgets

ERROR = 1e-9  # float64 on both sides, from the same weights in float16
START = """
() => {
    const { model, weights, examples } = STROKES;
    const bytes = Uint8Array.from(atob(weights), (letter) => letter.charCodeAt(0));
    window.flow = STEP.build(model, bytes);
    window.h = flow.features(STEP.tensor(1, 4, Float64Array.from(examples[1].x)));
    window.plain = (states) => states.map((t) => [...t.data]);
    return [examples[1], plain([h[4], h[8]])];
}
"""


@pytest.fixture(scope="module")
def tab(browser):
    context = browser.new_context(viewport={"width": 390, "height": 844}, reduced_motion="reduce")
    tab = context.new_page()
    widgets.blank(tab, "layers")
    yield tab
    context.close()


def close(found, expected):
    np.testing.assert_allclose(found, expected.flatten(), rtol=ERROR, atol=ERROR)


@torch.no_grad()
def test_every_layer_gives_what_it_gives_in_torch(tab, monkeypatch):
    flow = one_file_full.load()[0]["flow"].double()
    example, features = tab.evaluate(START)
    x = torch.tensor(example["x"]).double().view(1, 1, 4, 4)
    y = torch.from_numpy(widgets.from_hex(example["y"], 16, 16)).double()[None, None]
    h = flow.features(x)
    for ours, side in zip(features, (4, 8), strict=True):
        close(ours, h[side])

    noise = torch.rand(y.shape, generator=torch.Generator().manual_seed(0)).double()
    monkeypatch.setattr(torch, "rand_like", lambda t: noise)
    eps = noise.logit(eps=1e-6).flatten().tolist()
    states, terms, again = tab.evaluate(
        """([y, eps]) => {
            const labels = STEP.tensor(1, 16, Float64Array.from(y));
            const path = flow.forth(labels, h, Float64Array.from(eps));
            return [plain(path.states), path.terms, plain(flow.back(h, path.left).states)];
        }""",
        [y.flatten().tolist(), eps],
    )
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
    sampled = tab.evaluate(
        """([z, tau]) => plain(flow.back(h, null, tau, () => z.shift()).states)""",
        [normal.tolist(), 0.8],
    )
    z = x[:, :0]
    for k in reversed(range(len(flow.layers))):
        z = flow.layers[k].back(z, h[z.shape[-1]], 0.8)
        close(sampled[k], z)


@torch.no_grad()
def test_the_jacobian_that_is_measured_is_that_of_the_layer(tab):
    tab.evaluate(START)
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


@pytest.mark.parametrize(
    ("choice", "law"), [("a term's sign", 1), ("the order of channels", 0), ("the threshold", 2)]
)
def test_one_law_notices_each_mistake_and_the_others_hold(tab, choice, law):
    tab.get_by_text(choice, exact=True).click()
    lines = tab.locator(".step-laws li")
    lines.nth(1).filter(has_text="layer 14" if law == 1 else "38 of 38").wait_for()
    assert [line[0] for line in lines.all_inner_texts()] == [
        "✗" if k == law else "✓" for k in range(3)
    ]
    assert "Broken: " in tab.locator(".widget-says").inner_text()
    tab.get_by_text("nothing", exact=True).click()
    lines.nth(1).filter(has_text="38 of 38").wait_for()
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
