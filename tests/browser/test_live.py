"""The live pages: their engine against the package with the same noise, and what a reader does."""

import base64
import json
import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from cnf.replication import releases
from cnf.replication.config import build, from_dict, to_dict
from cnf.replication.data import fundus
from cnf.replication.data.embedded import photograph
from cnf.resample import imresize_double, low_resolution
from tests.browser.conftest import ROOT, SITE
from tools import live

FOLDER = ROOT / "book/_static/live"
RUN = """
async ([x, h, w, noise, temperature, y, u]) => {
    const decode = (text) => {
        const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
        return new Float64Array(bytes.buffer);
    };
    const encode = (numbers) => {
        const bytes = new Uint8Array(Float64Array.from(numbers).buffer);
        let text = '';
        for (let k = 0; k < bytes.length; k += 8192)
            text += String.fromCharCode(...bytes.subarray(k, k + 8192));
        return btoa(text);
    };
    const { bicubic } = await engine.condition(decode(x), h, w);
    const eps = decode(noise);
    let used = 0;
    const v = await engine.sample((n) => eps.subarray(used, (used += n)), temperature);
    const score = await engine.score(decode(y), decode(u));
    const more = bicubic ? [bicubic, engine.halved(decode(y), 2 * h, 2 * w)] : [];
    return [score.bits, used].concat([v, score.map, ...more].map(encode));
}
"""
MAKE = """
([name, which, mayKeep]) => {
    const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    window.engine = LIVE.engine(LIVE[name].model, bytes(LIVE[name].weights).buffer,
                                which.map((name) => bytes(LIVE.kernel[name])), mayKeep);
}
"""
CONVOLVE = """
async ([which, input, height, width, inputs, size, weights, bias, outputs, add, act]) => {
    const bytes = Uint8Array.from(atob(LIVE.kernel[which]), (letter) => letter.charCodeAt(0));
    if (!WebAssembly.validate(bytes)) return null;
    const memory = new WebAssembly.Memory({ initial: 64 });
    const { instance } = await WebAssembly.instantiate(bytes, { env: { memory } });
    let top = instance.exports.__heap_base.value;
    const put = (numbers) => {
        const at = 16 * Math.ceil(top / 16);
        new Float32Array(memory.buffer, at, numbers.length).set(numbers);
        top = at + 4 * numbers.length;
        return at;
    };
    const out = put(Array(height * width * outputs).fill(0));
    const added = add ? put(add) : 0;
    instance.exports.conv(put(input), inputs, height, width, inputs, size, put(weights), put(bias),
                          outputs, added, outputs, act, out, outputs);
    return [...new Float32Array(memory.buffer, out, height * width * outputs)];
}
"""


def packed(t: torch.Tensor) -> str:
    """A picture (1, C, H, W) as (positions, channels), float64, base64."""
    return base64.b64encode(t[0].permute(1, 2, 0).double().numpy().tobytes()).decode()


def unpacked(text: str, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(text)).copy()).reshape(shape)


@pytest.fixture(scope="module")
def tab(browser):
    """A page with the engine and nothing else."""
    tab = browser.new_page()
    for name in ("kernel", "sr-model", "vessels-model", "engine"):
        tab.add_script_tag(path=FOLDER / f"{name}.mjs")
    yield tab
    tab.close()


def compare(tab, flow, height: int, width: int, round_x: bool, temperature: float) -> None:
    """The engine of the tab against the flow: a sample, its bits, and where they are spent."""
    y = torch.from_numpy(photograph("chelsea")[20 : 20 + height, 90 : 90 + width].copy())
    y = y.permute(2, 0, 1)[None].float()
    x = low_resolution(y, round_x)
    with torch.no_grad():
        h = flow.condition(x)
        v = 256 * flow.sample_given(h, 1, temperature, torch.Generator().manual_seed(0))[0]
        bits = flow.bits_per_dim(y, x, torch.Generator().manual_seed(1))[0].item()
        latents, _ = flow.encode(y, h, torch.Generator().manual_seed(1))
    u = torch.rand(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    given = [packed(x), height // 2, width // 2, draws(latents), temperature, packed(y), packed(u)]
    its_bits, used, *pictures = tab.evaluate(RUN, given)
    its_v, cubic, half = (unpacked(pictures[k], -1, 3) for k in (0, 2, 3))

    def at_most(found, expected, error):
        torch.testing.assert_close(
            found, expected[0].permute(1, 2, 0).reshape(-1, 3).double(), rtol=0, atol=error
        )

    assert used == v.numel()
    at_most(its_v, v, 1e-3)  # grey levels: float32 itself is off by 4e-4 at 256x256
    at_most(cubic, imresize_double(x.double()), 1e-9)
    at_most(half, low_resolution(y.double(), round_x=False), 1e-9)
    check_bits(its_bits, unpacked(pictures[1], -1), bits, x)


def check_bits(bits, where, expected, x) -> None:
    """Bits, and where they are spent: a number for every position of x."""
    assert abs(bits - expected) < 1e-4
    assert len(where) == x[0, 0].numel()
    assert abs(where.mean().item() - bits) < 1e-9


def draws(latents: list[torch.Tensor]) -> str:
    """The noise of a sample by the seed 0, base64: that of the last prior first."""
    generator = torch.Generator().manual_seed(0)
    eps = [torch.randn(t.shape, generator=generator, dtype=torch.float64) for t in latents[::-1]]
    noise = torch.cat([e[0].permute(1, 2, 0).flatten() for e in eps])
    return base64.b64encode(noise.numpy().tobytes()).decode()


def compare_masks(tab, flow, height: int, width: int) -> None:
    """The engine against a flow of vessels: a mask, its bits, and where they are spent."""
    eye = fundus.generate(2001, 320)
    x, y = (t[None, :, 40 : 40 + height, 30 : 30 + width].float() for t in (eye.x, eye.y))
    with torch.no_grad():
        h = flow.condition(x)
        v = flow.sample_given(h, 1, 1.0, torch.Generator().manual_seed(0))[0, 0, 0].double()
        bits = flow.bits_per_dim(y, x, torch.Generator().manual_seed(1)).item()
        latents, _ = flow.encode(y, h, torch.Generator().manual_seed(1))
    u = flow.layers[0].sample_noise(y.double(), torch.Generator().manual_seed(1))[0]
    given = [packed(x), height, width, draws(latents), 1.0, packed(y), packed(u)]
    its_bits, used, its_v, where = tab.evaluate(RUN, given)
    its_v = unpacked(its_v, height, width)
    assert used == v.numel()
    differs = (its_v > 0.5) != (v > 0.5)
    assert not (differs & ((v - 0.5).abs() > 1e-4)).any()
    # float32 on both sides: rounding grows where a coupling's scale is large
    assert (its_v - v).abs().quantile(0.99) < 1e-4
    check_bits(its_bits, unpacked(where, -1), bits, x)


def released(name: str):
    return releases.load(releases.find(name)).eval()


@pytest.mark.parametrize(
    ("size", "round_x", "temperature"),
    [((16, 16), True, 1.0), ((48, 72), False, 0.7), ((256, 256), True, 1.0)],
    ids=["16x16", "48x72", "256x256"],
)
def test_the_page_draws_and_scores_as_the_package(tab, size, round_x, temperature):
    tab.evaluate(MAKE, ["sr", list(live.KERNELS), 3e8])
    flow = released("sr")
    compare(tab, flow, *size, round_x, temperature)


@pytest.mark.parametrize("kernel", ["simd", "plain"])
def test_the_kernels_of_other_browsers_draw_the_same(tab, kernel):
    tab.evaluate(MAKE, ["sr", [kernel], 3e8])
    compare(tab, released("sr"), 40, 32, True, 1.0)


@pytest.mark.parametrize("size", [(256, 256), (48, 36)], ids=["256x256", "48x36"])
def test_the_page_draws_and_scores_masks_as_the_package(tab, size):
    tab.evaluate(MAKE, ["vessels", list(live.KERNELS), 3e8])
    compare_masks(tab, released("vessels"), *size)


def engine_of_another(browser, folder, name: str, change):
    """A page with the engine of a flow like the released one but for what `change` does to its
    model's configuration, and that flow, with random weights."""
    config = to_dict(released(name).config)
    change(config["model"])
    torch.manual_seed(0)
    flow = build(from_dict(config)).eval()
    with torch.no_grad():
        for p in flow.parameters():
            p.add_(0.05 * torch.randn(p.shape))
        for norm in flow.modules():
            if isinstance(norm, torch.nn.BatchNorm2d):
                norm.running_mean.normal_()
                norm.running_var.uniform_(0.5, 2)
    flow.save(folder / "weights.safetensors", {"config": json.dumps(config)})
    flow = releases.load(folder / "weights.safetensors").eval()
    live.rounded(flow)
    other = browser.new_page()
    other.add_script_tag(path=FOLDER / "kernel.mjs")
    other.add_script_tag(content=live.exported(str(folder))[1])
    other.add_script_tag(path=FOLDER / "engine.mjs")
    return other, flow


def test_another_flow_of_the_kind_drops_in(browser, tmp_path):
    """Three levels, other widths, no clipping, 3x3 convolutions of h."""

    def change(model):
        model["features"] |= {"channels": 20, "blocks": 1, "fractions": False, "clip": None}
        model |= {"levels": 3, "steps": 2, "width": 24, "prior_width": 0, "h_kernel": 3}
        model |= {"clip": None, "flip": False}

    other, flow = engine_of_another(browser, tmp_path, "sr", change)
    for may_keep in (3e8, 0):  # with and without what networks make of h
        other.evaluate(MAKE, ["sr", list(live.KERNELS), may_keep])
        compare(other, flow, 32, 48, True, 1.0)
    other.close()


def test_another_flow_of_vessels_drops_in(browser, tmp_path):
    """One level under four scales, other widths, logistic noise, prior of one convolution."""

    def change(model):
        model["features"] |= {"channels": 12, "scales": 4}
        model |= {"levels": 1, "steps": 3, "width": 20, "prior_width": 0}
        model |= {"noise": "logistic", "h_kernel": 3, "clip": 4.0}

    other, flow = engine_of_another(browser, tmp_path, "vessels", change)
    for may_keep in (3e8, 0):
        other.evaluate(MAKE, ["vessels", list(live.KERNELS), may_keep])
        compare_masks(other, flow, 48, 32)
    other.close()


@pytest.mark.parametrize("kernel", list(live.KERNELS))
@pytest.mark.parametrize(("size", "shape"), [(3, (5, 11)), (3, (1, 2)), (1, (3, 7))])
def test_the_kernel_convolves_as_pytorch_does(tab, kernel, size, shape):
    torch.manual_seed(0)
    t, weight = torch.randn(1, 5, *shape), torch.randn(16, 5, size, size)
    bias, add = torch.randn(16), torch.randn(1, 16, *shape)
    plain = F.conv2d(t, weight, bias, padding=size // 2) + add
    # (outputs / 8, k, k, inputs, 8)
    lanes = weight.reshape(2, 8, 5, size, size).permute(0, 3, 4, 2, 1).flatten().tolist()
    flat = [p[0].permute(1, 2, 0).flatten().tolist() for p in (t, add)]
    for act, expected in enumerate([plain, F.relu(plain), F.silu(plain)]):
        given = [flat[0], *shape, 5, size, lanes, bias.tolist(), 16, flat[1], act]
        found = tab.evaluate(CONVOLVE, [kernel, *given])
        if found is None:
            pytest.skip(f"this Chromium cannot run the kernel '{kernel}'")
        found = torch.tensor(found).reshape(*shape, 16).permute(2, 0, 1)[None]
        # float32 sums of at most 45 products of size 1, and an exponential to 2 units
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-5)


# -- a reader --------------------------------------------------------------------------------------

LOG_2 = math.log(2)
PICTURE = "() => document.querySelector('.live-frame canvas').toDataURL()"
PIXELS = """() => {
    const canvas = document.querySelector('.live-frame canvas');
    return [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data];
}"""
DROP_TEXT = """() => {
    const dataTransfer = new DataTransfer();
    dataTransfer.setData('text/plain', 'a picture of another page');
    const options = { dataTransfer, bubbles: true, cancelable: true };
    document.body.dispatchEvent(new DragEvent('drop', options));
}"""
DOTS = "(n) => document.querySelectorAll('.live-axis .dot').length >= n"


@pytest.fixture
def from_disk(browser):
    """A function that opens the page from disk, with the network off."""
    view = {
        "viewport": {"width": 1280, "height": 1000},
        "offline": True,
        "reduced_motion": "reduce",
    }
    context = browser.new_context(**view)
    wrong = []

    def open_page(state="", page="live-super-resolution"):
        tab = context.new_page()
        tab.on("console", lambda m: m.type == "error" and wrong.append(m.text))
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.goto(f"file://{SITE}/{page}.html{state}")
        tab.wait_for_function(DOTS, arg=1)
        return tab

    yield open_page
    context.close()
    assert wrong == []


def test_a_reader_draws_from_disk_and_a_link_gives_the_same_picture(from_disk):
    tab = from_disk("#photo=coffee&side=128&left=24&top=12&tau=1&seed=7")
    tab.get_by_role("button", name="Stop").click()
    says = tab.locator(".live-status")
    assert re.match(r"Seed 7, \d\.\d\d bits per dimension; the truth \d\.\d\d\.", says.inner_text())
    first = tab.evaluate(PICTURE)
    hold = tab.get_by_role("button", name="Hold")
    hold.focus()
    tab.keyboard.down("Space")
    assert tab.evaluate(PICTURE) != first
    tab.keyboard.up("Space")
    assert tab.evaluate(PICTURE) == first
    tab.get_by_role("button", name="Another sample").click()
    tab.wait_for_function("document.querySelector('.live-status').innerText.includes('Seed 8, ')")
    second = tab.evaluate(PICTURE)
    assert second != first
    again = from_disk(tab.evaluate("location.hash"))
    assert again.locator(".live-status").inner_text().startswith("Seed 8, ")
    assert again.evaluate(PICTURE) == second
    again.evaluate("location.hash = location.hash.replace('seed=8', 'seed=5.2')")  # a second link
    again.locator(".live-status").filter(has_text="Seed 5, ").wait_for()

    # the truth in bits, by the package, with the noise of the page
    rows, columns = live.PHOTOGRAPHS["coffee"][2:]
    y = torch.from_numpy(photograph("coffee")[rows, columns][12:140, 24:152].copy())
    y = y.permute(2, 0, 1)[None].float()
    flow = released("sr")
    with torch.no_grad():
        bits = flow.bits_per_dim(y, low_resolution(y, True), torch.Generator().manual_seed(0))
    shown = float(re.search(r"truth (\d\.\d\d)", says.inner_text())[1])
    # other noise: its deviation between draws is below 0.005 here
    assert abs(shown - bits.item()) < 0.02


def test_a_reader_uses_keys_and_pictures_of_their_own(from_disk, tmp_path):
    tab = from_disk("#side=128&left=40&top=40")
    tab.get_by_role("application").focus()
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Shift+ArrowDown")
    tab.wait_for_function("location.hash.includes('left=44&top=72')")
    tab.get_by_label("temperature").focus()
    tab.keyboard.press("Home")
    tab.wait_for_function("location.hash.includes('tau=0&')")
    tab.wait_for_function(DOTS, arg=1)
    for view in ("mean", "deviation", "its bits", "truth's bits", "truth"):
        tab.get_by_role("radio", name=view, exact=True).check(force=True)
        assert tab.locator(".live-frame canvas").get_attribute("aria-label")

    give = tab.locator(".file input").first
    alert = tab.get_by_role("alert")
    for name, content, says in [
        ("a.pdf", b"%PDF-1.7", "This is a PDF"),
        ("a.png", b"nothing", "a.png is not a picture"),
    ]:
        give.set_input_files({"name": name, "mimeType": "image/png", "buffer": content})
        alert.filter(has_text=says).wait_for()
    tab.evaluate(DROP_TEXT)
    alert.filter(has_text="That is not a file").wait_for()
    cat = Image.fromarray(photograph("chelsea"))
    for name, size in (("strip", (4000, 60)), ("wide", (1536, 1024))):
        cat.resize(size).save(tmp_path / f"{name}.png")
    give.set_input_files(tmp_path / "strip.png")
    alert.filter(has_text="4000 by 60 pixels is too narrow for its length").wait_for()
    give.set_input_files(tmp_path / "wide.png")
    tab.wait_for_function("location.hash.startsWith('#left=320&top=192&side=128')")  # its middle
    give.set_input_files(ROOT / "book/_static/front/cat-x.png")
    tab.locator(".live-note").filter(has_text="Your picture.").wait_for()
    assert not alert.is_visible()
    tab.get_by_role("radio", name="as it is").check(force=True)
    tab.wait_for_function("document.querySelector('.live-status').innerText.startsWith('Seed 1, ')")
    assert "truth" not in tab.locator(".live-status").inner_text()
    assert tab.get_by_role("radio", name="truth", exact=True).is_disabled()
    assert "photo" not in tab.evaluate("location.hash")


STATUS = "(text) => document.querySelector('.live-status').innerText.includes(text)"


def test_a_reader_draws_vessels_and_a_link_gives_the_same_drawing(from_disk):
    tab = from_disk("#eye=eye-2000&side=128&left=200&top=140&seed=3&still=1", "live-vessels")
    tab.get_by_role("button", name="Stop").click()
    says = tab.locator(".live-status")
    costs = r"Seed 3 costs ≤ ([\d,]+) bits.*; the truth ≤ ([\d,]+)\..* F 0\.\d"
    sample, truth = (int(t.replace(",", "")) for t in re.match(costs, says.inner_text()).groups())
    assert truth < 0.8 * sample  # smooth borders and no specks: see the page
    first = tab.evaluate(PICTURE)
    tab.get_by_role("button", name="the truth").click()
    tab.wait_for_function(STATUS, arg="Not yet changed, it costs")
    # by mouse: erases a band across the square; by keys: one stroke to the right
    pen = tab.locator(".live-pen")
    pen.get_by_text("erase").click()
    tab.get_by_role("slider", name="width").fill("9")
    box = tab.locator(".live-frame canvas").bounding_box()
    tab.mouse.move(box["x"] + 40, box["y"] + 200)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 400, box["y"] + 300, steps=5)
    tab.mouse.up()
    pen.get_by_text("add").click()
    tab.get_by_role("slider", name="width").fill("3")
    tab.locator(".live-frame canvas").focus()
    for key in ("Space", "Shift+ArrowUp", "Shift+ArrowUp", "Space"):
        tab.keyboard.press(key)
    tab.wait_for_function(STATUS, arg="mean of 4")
    drawn, text = tab.evaluate(PICTURE), says.inner_text()
    change = re.search(r"began with ≤ ([\d,]+): ([\d,]+) ± (\d+) (more|fewer)", text)
    its_bits, change, error = (float(t.replace(",", "")) for t in change.groups()[:3])
    assert "more" in text

    # the package says the same of the same two masks, with noise of its own
    eye = fundus.generate(2000, live.EYE_SIDE)
    x, y = (t[None, :, 140:268, 200:328].float() for t in (eye.x, eye.y))
    white, orange, blue = ([255] * 3, [230, 159, 0], [86, 180, 233])
    seen = torch.tensor(tab.evaluate(PIXELS)).reshape(1, 128, 128, 4)[..., :3]
    is_colour = [(seen == torch.tensor(c)).all(-1)[None] for c in (white, orange, blue)]
    assert is_colour[1].sum() > 10 and is_colour[2].sum() > 100
    assert torch.equal(is_colour[0] | is_colour[2], y > 0)
    other = torch.where(is_colour[1], 1.0, torch.where(is_colour[2], 0.0, y))
    flow = released("vessels")
    with torch.no_grad():
        h = flow.condition(x)
        noise = [torch.Generator().manual_seed(k) for k in range(8)]
        before, after = (
            torch.stack([-flow.log_prob_given(t, h, g.manual_seed(k)) for k, g in enumerate(noise)])
            / LOG_2
            for t in (y, other)
        )
    # means of 4 draws there and of 8 here, 4 standard errors of each apart at most
    for found, its_error, ours in (
        (its_bits, before.std().item() / 4**0.5, before),
        (change, max(error, 1), after - before),
    ):
        own_error = ours.std().item() / 8**0.5
        assert abs(found - ours.mean().item()) < 4 * (its_error + own_error)

    other = from_disk(tab.evaluate("location.hash"), "live-vessels")
    other.wait_for_function(STATUS, arg="mean of 4")
    assert other.evaluate(PICTURE) == drawn and other.locator(".live-status").inner_text() == text
    other.get_by_role("radio", name="sample", exact=True).check(force=True)
    assert other.evaluate(PICTURE) == first


def test_a_reader_opens_an_eye_of_their_own(from_disk, tmp_path):
    tab = from_disk("#side=128&still=1&view=marginal", "live-vessels")
    tab.get_by_role("slider", name="threshold").focus()
    tab.keyboard.press("ArrowRight")
    tab.wait_for_function(STATUS, arg="Threshold 0.55")
    for view in ("its bits", "deviation", "marginal"):
        tab.get_by_role("radio", name=view, exact=True).check(force=True)
        assert tab.locator(".live-frame canvas").get_attribute("aria-label")
    assert tab.get_by_role("button", name="the truth").is_disabled()

    give, alert = tab.locator(".file input").first, tab.get_by_role("alert")
    retina, small, cat = (tmp_path / f"{n}.png" for n in ("retina", "small", "cat"))
    Image.fromarray(photograph("retina")).save(retina)
    Image.fromarray(photograph("retina")).resize((60, 60)).save(small)
    Image.fromarray(photograph("chelsea")).save(cat)
    (tmp_path / "a.png").write_bytes(b"nothing")
    for file, says in [
        (tmp_path / "a.png", "a.png is not a picture"),
        (small, "60 by 60 pixels is too small: at least 64 a side"),
    ]:
        give.set_input_files(file)
        alert.filter(has_text=says).wait_for()
    note, photo = tab.locator(".live-note"), tab.locator(".live-area canvas")
    give.set_input_files(cat)
    note.filter(has_text="No dark border around an eye was found").wait_for()
    assert not alert.is_visible()
    tab.wait_for_function("!location.hash.includes('eye=')")
    Image.fromarray(photograph("chelsea")).resize((1200, 800)).save(cat)
    give.set_input_files(cat)
    note.filter(has_text="the model sees the picture at 768 by 512 pixels").wait_for()
    give.set_input_files(retina)
    note.filter(has_text="The model sees the eye 540 pixels across").wait_for()
    # `cnf sample` shows it to the model at 546 pixels
    assert abs(photo.evaluate("(node) => node.width") - 546) <= 2


def test_a_link_gives_the_drawing_after_other_samples_and_seeds(from_disk):
    square = "#eye=eye-2000&side=128&left=200&top=140"
    tab = from_disk(f"{square}&seed=3&shown=17&still=1", "live-vessels")  # 16 come unasked
    tab.wait_for_function(STATUS, arg="Seed 20 costs", timeout=120_000)
    tab.get_by_role("button", name="this sample").click()
    tab.wait_for_function(STATUS, arg="mean of 4")
    drawn, text = tab.evaluate(PICTURE), tab.locator(".live-status").inner_text()
    tab.get_by_role("button", name="Another sample").click()
    tab.get_by_role("spinbutton", name="seed").fill("9")
    tab.keyboard.press("Enter")
    other = from_disk(tab.evaluate("location.hash"), "live-vessels")
    other.wait_for_function("!document.querySelector('[value=drawing]').disabled", timeout=120_000)
    other.get_by_role("radio", name="drawing").check(force=True)
    other.wait_for_function(STATUS, arg="mean of 4")
    assert other.evaluate(PICTURE) == drawn and other.locator(".live-status").inner_text() == text


def test_stars_are_no_eye(from_disk, tmp_path):
    tab = from_disk("#side=128&still=1", "live-vessels")
    stars = np.full((600, 600), 10, np.uint8)
    stars[np.random.default_rng(0).random(stars.shape) < 0.006] = 255
    Image.fromarray(stars).save(tmp_path / "stars.png")
    tab.locator(".file input").first.set_input_files(tmp_path / "stars.png")
    tab.get_by_role("alert").filter(has_text="the eye fills too little").wait_for()


def test_the_page_goes_on_where_the_address_may_not_change(from_disk):
    tab = from_disk("#side=128&still=1", "live-vessels")
    refuses = "throw new DOMException('', 'SecurityError')"  # as Safari after a hundred changes
    tab.evaluate(f"() => {{ history.replaceState = () => {{ {refuses}; }}; }}")
    tab.get_by_role("slider", name="threshold").focus()
    tab.keyboard.press("ArrowRight")
    tab.wait_for_function(STATUS, arg="Threshold 0.55")


def test_a_reader_does_not_wait_for_the_model(browser):
    tab = browser.new_page()
    wrong, held = [], []
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.route("**/sr-model.mjs", lambda route: held.append(route))
    tab.goto(f"file://{SITE}/live-super-resolution.html", wait_until="domcontentloaded")
    tab.get_by_role("button", name="Copy a link").click()
    assert tab.get_by_role("button", name="Stop").is_disabled()
    tab.locator(".file input").first.set_input_files(ROOT / "book/_static/front/cat-x.png")
    tab.locator(".live-note").filter(has_text="Your picture.").wait_for()
    held[0].continue_()
    tab.wait_for_function(DOTS, arg=1)
    assert tab.locator(".live-note").inner_text().startswith("Your picture.")
    assert wrong == []
    tab.close()


def test_without_webassembly_the_page_says_so(browser):
    tab = browser.new_page()
    tab.add_init_script("""const Whole = Blob;
        window.Blob = function (parts, options) {
            return new Whole(['WebAssembly = undefined;', ...parts], options);
        }""")
    tab.goto(f"file://{SITE}/live-vessels.html")
    alert = tab.get_by_role("alert").filter(has_text="this browser cannot run WebAssembly")
    alert.wait_for()
    tab.locator(".live-thumbs button").nth(1).click()
    tab.wait_for_function("document.querySelector('.live-note').innerText.includes('generated')")
    tab.wait_for_timeout(300)
    assert alert.is_visible()
    tab.close()


def test_a_reader_without_scripts_sees_still_pictures(browser):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    for page in ("super-resolution", "vessels"):
        tab.goto(f"file://{SITE}/live-{page}.html")
        for picture in tab.locator(f"[data-live-{page}] img").all():
            assert picture.bounding_box()["height"] > 60
        assert "JavaScript, the flow" in tab.locator(f"[data-live-{page}]").inner_text()
    context.close()
