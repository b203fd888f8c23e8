"""Make the data of the small widgets of the book: samples of trained models, and still pictures.

    python -m tools.widgets strokes        # book/_static/draws/strokes.mjs: the models of lesson 9
    python -m tools.widgets layers         # .../layers/strokes.mjs: the weights of lesson 9
    python -m tools.widgets eyes           # .../layers/eyes.mjs: squares to step through
    python -m tools.widgets vessels        # .../draws/vessels.mjs, with the models of results/
    python -m tools.widgets temperature    # .../stills/temperature.png, .../temperature-numbers.js
    python -m tools.widgets face           # .../draws/: the widgets of lessons 10 to 17
    python -m tools.widgets stills         # .../stills/: needs Chromium

Lesson 13 and tests/book/test_widgets.py compare the draws with the models,
tests/browser/test_widgets.py the stills with the widgets.
"""

import base64
import copy
import json
import re
import sys
from collections.abc import Iterable
from io import BytesIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from book import one_file, one_file_full
from cnf.noise import keyed
from cnf.replication import releases
from cnf.replication.data import load
from cnf.replication.data.embedded import photograph
from cnf.replication.metrics import pictures, shapes, textures
from cnf.replication.places import REPOSITORY
from cnf.replication.plotting import save_image, to_uint8
from cnf.resample import low_resolution
from tools import experiments, live

STATIC = REPOSITORY / "book/_static"
RUNS = {"flow": "vessels-flow-lambda0-s1", "per-pixel": "vessels-baseline-cpu-s0"}
PHOTOGRAPH, PART = 1, np.s_[56:136, 24:104]  # of the synthetic eyes, and its window
COUNT = 8  # draws of each model
PATCHES = [("retina", 446, 286), ("eye-2000", 92, 326), ("retina", 130, 398)]  # to step through
PATCH = 48  # pixels a side
CROP = np.s_[..., 40:136, 180:276]  # of scikit-image's cat: an eye and fur
TAUS = [round(0.1 * k, 1) for k in range(11)]
COLUMNS = 4  # of the sheet of temperatures
PICTURES = ["pair", "line", "plane", "scales", "noise", "throws", "weighted", "file", "steps"]
PICTURES += ["lowBand", "threshold", "controls"]
# of small pictures: their stills are photographs of the widgets
TILES = ["halves", "observers", "connect"]
STEPPED = {"layers": "layers/strokes.mjs", "eyes": "layers/eyes.mjs"}
SCRIPTS = {  # that only the page of a widget loads
    "train": ["train/flow.mjs", "train/page.mjs"],
    "layers": ["layers/strokes.mjs", "layers/engine.mjs", "layers/page.mjs"],
    "vesselLayers": [
        "live/vessels-model.mjs",
        "layers/eyes.mjs",
        "layers/engine.mjs",
        "layers/page.mjs",
    ],
    "halves": ["draws/face.mjs", "experiments.mjs"],
    "lowBand": ["experiments.mjs"],
    "observers": ["draws/observers.mjs", "experiments.mjs"],
    "threshold": ["draws/marginals.mjs", "experiments.mjs"],
    "controls": ["draws/controls.mjs", "experiments.mjs"],
    "means": ["draws/means.mjs", "experiments.mjs"],
    "connect": ["draws/pieces.mjs", "experiments.mjs"],
}


def to_hex(mask: np.ndarray) -> str:
    """A mask as hexadecimal digits, four pixels each, row by row."""
    return np.packbits(mask.astype(bool).ravel()).tobytes().hex()


def from_hex(text: str, height: int, width: int) -> np.ndarray:
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8)).reshape(height, width)


def pieces(mask: np.ndarray) -> int:
    return shapes.shape(mask, np.ones_like(mask)).components


def read_widget(name: str) -> dict:
    text = (STATIC / f"draws/{name}.mjs").read_text("utf-8")
    return json.loads(text.split(" = ", 1)[1].removesuffix(";\n"))


def widget_data(x: np.ndarray, says: str, truth: np.ndarray, draws: dict[str, np.ndarray]) -> dict:
    """The data of a widget: x uint8 (H,W,3), the truth (H,W), and samples (n,H,W) of each model."""
    models = [
        {"name": name, "draws": [*map(to_hex, masks)], "pieces": [*map(pieces, masks)]}
        for name, masks in draws.items()
    ]
    height, width = truth.shape
    input_picture = {"name": says, "rgb": x.tobytes().hex()}
    return {
        "width": width,
        "height": height,
        "x": input_picture,
        "truth": to_hex(truth),
        "models": models,
    }


def vessels(which: Iterable[int] = range(COUNT)) -> dict:
    torch.set_num_threads(1)
    example = load("embedded-vessels", "test")[PHOTOGRAPH]
    x = example.x[None].float()
    draws = {}
    with torch.no_grad():
        for name, run in RUNS.items():
            # in float64: which side of 1/2 a draw falls on is then the same on every machine
            model, noise = releases.load(run).double(), [keyed(0, [PHOTOGRAPH], k) for k in which]
            masks = [model.sample(x, 1, 1.0, eps)[0, 0, 0].numpy() > 0 for eps in noise]
            draws[name] = np.stack(masks)[:, *PART]
    photograph_part = example.x.permute(1, 2, 0).numpy()[PART]
    truth = example.y[0].numpy()[PART] > 0
    return widget_data(photograph_part.astype(np.uint8), "photograph x", truth, draws)


def strokes() -> dict:
    models, _ = one_file_full.load()
    # in float64: which side of 1/2 a draw falls on is then the same on every machine
    flow, per_pixel = models["flow"].double(), models["per_pixel"].double()
    torch.manual_seed(7)
    y, x = (t.double() for t in one_file.strokes(6))
    longest = y.sum((1, 2, 3)).argmax()
    y, x = y[longest, None], x[longest, None]
    repeated_x = x.expand(COUNT, -1, -1, -1)
    draws = {"flow": flow.sample(repeated_x, tau=0.8), "per-pixel": per_pixel.sample(repeated_x)}
    grey = (255 * F.interpolate(x, scale_factor=4)[0].expand(3, -1, -1)).round().byte()
    masks = {name: t[:, 0].numpy() > 0 for name, t in draws.items()}
    x = grey.permute(1, 2, 0).contiguous().numpy()
    return widget_data(x, "input x", y[0, 0].numpy() > 0, masks)


def layers() -> str:
    """The flow of lesson 9, its layers described as tools/live.py does it, and drawings to step
    through."""
    flow, weights, described = one_file_full.load()[0]["flow"], live.Weights(), []
    for layer in flow.layers:
        match layer:
            case one_file.BinaryDequantization():
                described.append({"kind": "binary", "noise": "logistic", "shift": 3})
            case one_file.Squeeze():
                described.append({"kind": "squeeze"})
            case one_file.ActNorm():
                places = {"l": weights.add(layer.l), "b": weights.add(layer.b)}
                described.append({"kind": "actnorm", "channels": len(layer.l), **places})
            case one_file.Conv1x1():
                place = weights.add(layer.W)
                described.append({"kind": "conv1x1", "channels": len(layer.W), "w": place})
            case one_file.Coupling():  # a prior is one
                described.append(half(layer, weights))
    features = {name: weights.conv(getattr(flow, name)) for name in ("at_4", "at_8")}
    model = {"layers": described, "features": {"kind": "means", **features}, "halves": 0}
    torch.manual_seed(7)
    y, x = one_file.strokes(6)
    examples = [
        {"y": to_hex(a.numpy()), "x": b.flatten().tolist()} for a, b in zip(y, x, strict=True)
    ]
    data = base64.b64encode(b"".join(weights.parts["<f2"])).decode()
    content = {"model": model, "weights": data, "examples": examples}
    return f"window.STROKES = {json.dumps(content)};\n"


def half(layer: one_file.Coupling, weights: live.Weights) -> dict:
    """A coupling or a prior of one_file.py."""
    first, _, middle, _, last = layer.net
    num_a, num_out = layer.num_a, len(last.bias) // 2
    if is_prior := isinstance(layer, one_file.Prior):  # (log sigma, mu) there, (mu, log sigma) here
        last = copy.deepcopy(last)
        for p in last.parameters():
            p.data = p.data.roll(num_out, 0)
    net = {
        "activation": "relu",
        "y": weights.conv(first, slice(0, num_a), bias=False) if num_a else None,
        "h": weights.conv(first, slice(num_a, None)),
        "middle": weights.conv(middle),
        "last": weights.conv(last),
    }
    facts = {"kind": "prior", "kept": num_a} if is_prior else {"kind": "coupling", "flip": False}
    return {**facts, "channels": num_out, "bound": layer.m, "net": net}


@torch.no_grad()
def eyes() -> str:
    """Squares of the eyes of the live page to step through, and masks of them: of a photograph one
    that the released flow drew, of a generated eye the truth."""
    text = (live.OUT / "eyes.mjs").read_text("utf-8")
    entries = {e["name"]: e for e in json.loads(text.split(" = ", 1)[1].removesuffix(";\n"))}
    flow = releases.load(live.RUNS["vessels"])
    live.rounded(flow)
    flow.double()  # which side of 1/2 a draw falls on is then the same on every machine
    examples = []
    for name, top, left in PATCHES:
        part = np.s_[top : top + PATCH, left : left + PATCH]
        x, truth = (pixels(entries[name][of]) for of in ("src", "truth"))
        x = np.ascontiguousarray(x[part].transpose(2, 0, 1))
        if truth is None:
            h = flow.condition(torch.from_numpy(x)[None].double())
            mask = flow.sample_given(h, 1, 0.8, keyed(0, [len(examples)]))[0, 0, 0].numpy() > 0.5
        else:
            mask = truth[part] > 0
        examples.append({"y": to_hex(mask), "x": x.tobytes().hex()})
    return f"window.EYES = {json.dumps(examples)};\n"


def pixels(src: str | None) -> np.ndarray | None:
    """Of a picture whose address holds its file."""
    return src and np.asarray(Image.open(BytesIO(base64.b64decode(src.split(",")[1]))))


def high_power(picture: torch.Tensor) -> float:
    """Power of Y in dB at frequencies above 1/4 cycle a pixel, which the small picture lacks."""
    return textures.band(*textures.spectrum(pictures.luma(picture)), "high")


def temperature() -> None:
    """One crop at eleven temperatures from the same noise: a sheet of tiles, the truth last, and
    the numbers of each."""
    torch.set_num_threads(1)
    flow, whole = releases.load("sr-flow-cpu-s0"), torch.from_numpy(photograph("chelsea").copy())
    y = whole.permute(2, 0, 1)[None].float()[CROP]
    x = low_resolution(y, round_x=False)
    samples = [flow.sample(x, 1, tau, keyed(0, [0]))[0, 0] for tau in TAUS]
    rows = []
    for tau, sample in zip(TAUS, samples, strict=True):
        psnr = pictures.fidelity(y[0], sample, "released")["psnr"]
        power = high_power(sample) - high_power(y[0])
        rows.append({"tau": tau, "psnr": round(psnr, 1), "power": round(power, 1)})
    tiles = [*map(to_uint8, samples), to_uint8(y[0])]
    lines = [np.concatenate(tiles[k : k + COLUMNS], 1) for k in range(0, len(tiles), COLUMNS)]
    save_image(np.concatenate(lines), STATIC / "stills/temperature.png")
    write("temperature-numbers.js", f"window.TEMPERATURES = {json.dumps(rows)};\n")


def light_theme_rules() -> str:
    """The rules of widgets.css for drawings, with the colours of the light theme."""
    css = (STATIC / "widgets.css").read_text("utf-8")
    colours = dict(re.findall(r"(--[\w-]+): (#\w+);", css.split("html[data-theme")[0]))
    rules = re.findall(r"^\.widget svg ([^{@]+\{[^}]+\})", css, re.M)
    text = "".join(rules).replace("inherit", "sans-serif")
    text = re.sub(r"var\(--[\w-]+, (#\w+)\)", r"\1", text)
    return re.sub(r"var\((--[\w-]+)\)", lambda match: colours[match[1]], text)


def blank(tab, name: str, draws: str = "") -> None:
    """Make the tab a page with one widget and nothing else."""
    widget = f'<div class="widget" data-widget="{name}" data-draws="{draws}"></div>'
    tab.set_content(f'<html data-theme="light"><body style="width: 44rem">{widget}</body></html>')
    tab.add_style_tag(path=STATIC / "widgets.css")
    own = [f"draws/{draws}.mjs"] if draws else SCRIPTS.get(name, [])
    for script in ["widgets.js", *own, "lessons.js"]:
        tab.add_script_tag(path=STATIC / script)


def still(tab, name: str) -> str:
    """The initial pictures of a widget, side by side in one SVG."""
    blank(tab, name)
    drawings = tab.evaluate(
        "[...document.querySelectorAll('.widget-pictures svg')]"
        ".map((svg) => [svg.viewBox.baseVal.width, svg.viewBox.baseVal.height,"
        " svg.getAttribute('aria-label'), svg.innerHTML])"
    )
    left, parts = 0, []
    for width, height, _, inside in drawings:
        parts.append(f'<svg x="{left}" width="{width}" height="{height}">{inside}</svg>')
        left += width + 12
    size = f"0 0 {left - 12} {max(height for _, height, _, _ in drawings)}"
    label = " ".join(label for *_, label, _ in drawings)
    opening_tag = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" width="{left - 12}"'
    opening_tag = f'{opening_tag} role="img" aria-label="{label}">'
    return f"{opening_tag}<style>{light_theme_rules()}</style>{''.join(parts)}</svg>\n"


def stills() -> None:
    from playwright.sync_api import sync_playwright

    from tools.pdf import chromium

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        size = {"width": 800, "height": 900}
        tab = browser.new_page(viewport=size, reduced_motion="reduce")
        for name in PICTURES:
            (STATIC / f"stills/{name}.svg").write_text(still(tab, name), "utf-8", newline="\n")
        for name in ("strokes", "vessels"):
            blank(tab, "samples", name)
            tab.locator(".widget-pictures").screenshot(path=STATIC / f"stills/{name}.png")
        for name in TILES:
            blank(tab, name)
            picture = STATIC / f"stills/{name}.jpg"
            tab.locator(".widget-pictures").screenshot(path=picture, type="jpeg", quality=50)
        for name, count in (("layers", 38), ("vesselLayers", 34)):
            blank(tab, name)
            tab.get_by_label("layers done").fill("22")
            tab.locator(".step-laws", has_text=f"{count} of {count}").wait_for()
            tab.locator(".widget-pictures").screenshot(path=STATIC / f"stills/{name}.png")
        blank(tab, "train")
        tab.get_by_role("button", name="Train", exact=True).click()
        tab.get_by_text("Step 1600 of 1600").wait_for(timeout=300_000)
        tab.locator(".widget-pictures").screenshot(path=STATIC / "stills/train.png")
        browser.close()


def write(file: str, text: str) -> None:
    (STATIC / file).write_text(f"// Written by tools/widgets.py.\n{text}", "utf-8", newline="\n")
    print(f"book/_static/{file}: {len(text) / 1000:.0f} kB")


def main() -> None:
    makers = {
        f.__name__: f
        for f in (strokes, layers, eyes, vessels, temperature, *experiments.MAKERS, stills)
    }
    for name in sys.argv[1:] or makers:
        content = makers[name]()
        if name in STEPPED:
            write(STEPPED[name], content)
        elif content:
            write(f"draws/{name}.mjs", f"(window.DRAWS ??= {{}}).{name} = {json.dumps(content)};\n")


if __name__ == "__main__":
    main()
