"""The live pages: their engine against the package with the same noise, and what a reader does."""

import base64
import io
import math
import re

import numpy as np
import pytest
import torch
from PIL import Image

from cnf.replication import releases
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


def packed(t: torch.Tensor) -> str:
    """A picture (1, C, H, W) as (positions, channels), float64, base64."""
    return base64.b64encode(t[0].permute(1, 2, 0).double().numpy().tobytes()).decode()


def unpacked(text: str, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(text)).copy()).reshape(shape)


@pytest.fixture(scope="module")
def tab(browser):
    """A page with the engine and nothing else."""
    tab = browser.new_page()
    for name in ("kernel", *(f"{name}-model" for name in live.RUNS), "engine"):
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
    return releases.load(releases.find_weights(name)).eval()


@pytest.mark.parametrize(
    ("size", "round_x", "temperature"),
    [((48, 72), False, 0.7), ((256, 256), True, 1.0)],
    ids=["48x72", "256x256"],
)
def test_the_page_draws_and_scores_as_the_package(tab, size, round_x, temperature):
    tab.evaluate(MAKE, ["sr", list(live.KERNELS), 3e8])
    flow = released("sr")
    compare(tab, flow, *size, round_x, temperature)


MEAN = (
    RUN[: RUN.index("    const { bicubic }")]
    + """
    await engine.condition(decode(x), h, w);
    return encode(engine.mean());
}
"""
)


@pytest.mark.parametrize("round_x", [False, True])
def test_the_page_computes_the_mean_of_the_factorised_model_as_the_package(tab, round_x):
    tab.evaluate(MAKE, ["sr_baseline", list(live.KERNELS), 3e8])
    y = torch.from_numpy(photograph("coffee")[100:148, 200:272].copy()).permute(2, 0, 1)[None]
    y[..., :20], y[..., -20:] = 0, 255  # where P(y > 0) and P(y > 254) count
    x = low_resolution(y.float(), round_x)
    expected = released("sr-baseline").mean(x)[0].permute(1, 2, 0).double()
    its_mean = tab.evaluate(MEAN, [packed(x), 24, 36, "", 1.0, "", ""])
    found = unpacked(its_mean, 48, 72, 3)
    # grey levels; float32 on both sides, and the sum of 255 terms in the package
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("kernel", ["simd", "plain"])
def test_the_kernels_of_other_browsers_draw_the_same(tab, kernel):
    tab.evaluate(MAKE, ["sr", [kernel], 3e8])
    compare(tab, released("sr"), 40, 32, True, 1.0)


@pytest.mark.parametrize("size", [(256, 256), (48, 36)], ids=["256x256", "48x36"])
def test_the_page_draws_and_scores_masks_as_the_package(tab, size):
    tab.evaluate(MAKE, ["vessels", list(live.KERNELS), 3e8])
    compare_masks(tab, released("vessels"), *size)


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
    with tab.expect_download() as saved:
        tab.get_by_role("button", name="Save as PNG").click()
    assert saved.value.suggested_filename == "sr-sample-seed8.png"
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(second.partition(",")[2]))))
    assert np.array_equal(np.asarray(Image.open(saved.value.path())), drawn)
    again = from_disk(tab.evaluate("location.hash"))
    assert again.locator(".live-status").inner_text().startswith("Seed 8, ")
    assert again.evaluate(PICTURE) == second
    again.evaluate("location.hash = location.hash.replace('seed=8', 'seed=5.2')")  # a second link
    again.locator(".live-status").filter(has_text="Seed 5, ").wait_for()

    # the truth in bits, by the package, with the noise of the page
    rows, columns = live.PHOTOGRAPHS["coffee"][2:]
    y = torch.from_numpy(photograph("coffee")[rows, columns][12:140, 24:152].copy())
    y = y.permute(2, 0, 1)[None].float()
    assert tab.evaluate("LIVE.sr_baseline === undefined")  # loaded for readers who ask for it
    tab.get_by_role("radio", name="factorised", exact=True).check(force=True)
    tab.locator(".live-says").filter(has_text="PSNR (RGB)").wait_for()
    seen = torch.tensor(tab.evaluate(PIXELS)).reshape(128, 128, 4)[..., :3]
    mean = released("sr-baseline").mean(low_resolution(y, True))[0].permute(1, 2, 0)
    assert (seen - mean).abs().max() < 0.501
    found = float(re.search(r"here ([\d.]+) dB", tab.locator(".live-says").inner_text())[1])
    error = (mean - y[0].permute(1, 2, 0)).double().square().mean()
    assert abs(found - 10 * math.log10(255**2 / error)) < 0.006  # two decimals are shown
    flow = released("sr")
    with torch.no_grad():
        bits = flow.bits_per_dim(y, low_resolution(y, True), torch.Generator().manual_seed(0))
    shown = float(re.search(r"truth (\d\.\d\d)", says.inner_text())[1])
    # other noise: its deviation between draws is below 0.005 here
    assert abs(shown - bits.item()) < 0.02


def test_the_arc_leads_from_one_sample_to_the_next(from_disk):
    place = "#photo=coffee&side=128&left=24&top=12&tau=1"
    tab = from_disk(f"{place}&seed=7")

    def drawn():
        tab.get_by_role("button", name="Draw more").wait_for()
        return np.array(tab.evaluate(PIXELS))

    first = drawn()
    arc = tab.get_by_label("arc to the next sample")
    arc.focus()
    for _ in range(3):
        tab.keyboard.press("ArrowRight")
    tab.wait_for_function("location.hash.includes('arc=45')")
    middle = drawn()
    arc.press("End")
    tab.wait_for_function("location.hash.includes('arc=90')")
    last = drawn()
    following = np.array(from_disk(f"{place}&seed=8").evaluate(PIXELS))
    # cos(90 degrees) is 6e-17 here, and a value may lie on the border of two grey levels
    assert np.abs(last - following).max() <= 1
    assert min(np.abs(middle - other).mean() for other in (first, following)) > 1


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
    give.set_input_files(ROOT / "book/_static/front/cat-given.png")
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


def test_a_reader_does_not_wait_for_the_model(browser):
    tab = browser.new_page()
    wrong, held = [], []
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.route("**/sr-model.mjs", lambda route: held.append(route))
    tab.goto(f"file://{SITE}/live-super-resolution.html", wait_until="domcontentloaded")
    tab.get_by_role("button", name="Copy a link").click()
    assert tab.get_by_role("button", name="Stop").is_disabled()
    tab.locator(".file input").first.set_input_files(ROOT / "book/_static/front/cat-given.png")
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
        assert "JavaScript, a flow" in tab.locator(f"[data-live-{page}]").inner_text()
    context.close()
