"""Your flow of lessons 1 to 9 at work, on photographs (10 to 13) and on vessels (14 to 17).

`show(10)` draws what the flow of my_flow_solution.py does, beside the released flow, as
at_work.json keeps it; `show(10, vars(my_flow))` trains yours for a minute and draws it instead.
`python at_work.py` trains the three models of the solution and writes at_work.json.
"""

import base64
import io
import json
import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch import nn

from cnf.layers import Residual, Subbands
from cnf.noise import keyed
from cnf.replication.data import load
from cnf.replication.data.embedded import photograph
from cnf.replication.plotting import to_uint8
from cnf.resample import consistent_double, low_resolution
from cnf.testing import seeded

FILE = Path(__file__).with_name("at_work.json")
RELEASED = {"photographs": "sr", "vessels": "vessels-flow-lambda0-s0"}
STEPS = {"squeeze": 300, "bands": 300, "masks": 500}  # a minute of a core, or less
PART = np.s_[..., 40:104, 16:80]  # of the second test eye
DRAWS = 16


class Lent(nn.Module):
    """A layer of the package, called as yours are."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, y, h):
        return self.layer(y, h)

    def back(self, z, h, tau):
        return self.layer.inverse(z, h)[0]


class AtWork(nn.Module):
    """Your classes in a list. log_prob(y, x): (B,), in nats, by one draw of noise; sample(x, tau).

    All layers are convolutions or act on single positions, so pictures may have any size that can
    be halved often enough. A layer finds its features by their height.
    """

    def log_prob(self, y, x):
        h, log_p = self.features(x), y.new_zeros(len(y))
        for layer in self.layers:
            y, term = layer(y, h[y.shape[-2]])
            log_p = log_p + term
        return log_p

    @torch.no_grad()
    def sample(self, x, tau=1.0):
        h = self.features(x)
        size = min(h)
        y = x.new_zeros(len(x), 0, size, h[size].shape[-1])
        for layer in reversed(self.layers):
            y = layer.back(y, h[y.shape[-2]], tau)
        return y

    def steps(self, names, channels, num_h):
        half = channels // 2
        for _ in range(4):
            yield from (names["ActNorm"](channels), names["Conv1x1"](channels))
            yield names["Coupling"](half, half, num_h)


class OfPhotographs(AtWork):
    """y (B,3,H,W) in grey levels given its half x (B,3,H/2,W/2), with one scale.

    Args:
        bands: the subbands of y - u(x), as in lesson 10, take the place of its squeeze by yours.
    """

    def __init__(self, names, bands, num_h=16):
        super().__init__()
        self.net = convolutions(3, num_h)
        first = [Lent(Residual(8.0)), Lent(Subbands()) if bands else names["Squeeze"]()]
        last = names["Prior"](0, 12, num_h, m=6)
        noise = names["UniformDequantization"](256)
        self.layers = nn.ModuleList([noise, *first, *self.steps(names, 12, num_h), last])

    def features(self, x):
        return {x.shape[-2]: self.net(x / 128 - 1), 2 * x.shape[-2]: consistent_double(x) / 256}


class OfVessels(AtWork):
    """Masks y (B,1,H,W) given photographs x (B,3,H,W) in grey levels, with two scales."""

    def __init__(self, names, num_h=16):
        super().__init__()
        self.at_1, self.at_2 = convolutions(3, num_h), convolutions(num_h, num_h, stride=2)
        self.at_4 = convolutions(num_h, num_h, stride=2)
        layers = [names["BinaryDequantization"]()]
        for n, kept in ((4, 2), (8, 0)):
            layers += [names["Squeeze"](), *self.steps(names, n, num_h)]
            layers.append(names["Prior"](kept, n - kept, num_h, m=6))
        self.layers = nn.ModuleList(layers)

    def features(self, x):
        around = nn.functional.avg_pool2d(x, 9, 1, 4, count_include_pad=False)
        h = self.at_1((x - around) / 16)  # vessels are a little darker than what is around them
        half = self.at_2(h)
        return {x.shape[-2]: h, half.shape[-2]: half, half.shape[-2] // 2: self.at_4(half)}


def convolutions(channels, num_h, stride=1):
    first = nn.Conv2d(channels, num_h, 3, stride, padding=1)
    return nn.Sequential(first, nn.ReLU(), nn.Conv2d(num_h, num_h, 3, padding=1), nn.ReLU())


# -- pairs -----------------------------------------------------------------------------------------


def patches(n, side=8):
    """n random patches of three photographs, (n,3,side,side), and their halves."""
    found = []
    for name in ("astronaut", "coffee", "rocket"):
        whole = torch.from_numpy(photograph(name).copy()).permute(2, 0, 1).float()
        found += crops([whole], n // 3 + 1, side)
    y = torch.stack(found)[torch.randperm(len(found))[:n]]
    return y, low_resolution(y, round_x=False)


def masks(eyes, n, side=24):
    """n random crops of drawn eyes: masks (n,1,side,side) and photographs (n,3,side,side)."""
    both = torch.stack(crops(eyes, n, side))
    both = both.flip(-1) if torch.rand(()) < 0.5 else both
    return both[:, 3:], both[:, :3]


def crops(pictures, n, side):
    found = []
    for k in torch.randint(len(pictures), (n,)).tolist():
        top, left = (int(torch.randint(length - side, ())) for length in pictures[k].shape[-2:])
        found.append(pictures[k][:, top : top + side, left : left + side])
    return found


def drawn_eyes(split):
    """[(4,192,192)]: photograph in grey levels and mask, of the eyes that the package draws."""
    return [torch.cat([eye.x, eye.y]).float() for eye in load("embedded-vessels", split)]


def kept_photographs():
    """32 test patches of a cat, (32,3,32,32), and one crop of 64x64, each with its half."""
    y = load("embedded-sr", "test").stacked[0].float()[3::4]
    whole = torch.from_numpy(photograph("chelsea").copy()).permute(2, 0, 1).float()
    crop = whole[None, :, 60:124, 196:260]
    return [(t, low_resolution(t, round_x=False)) for t in (y, crop)]


def trained(kind, names, steps=None):
    """The model of these classes. Raises FloatingPointError if the loss is not finite."""
    steps = STEPS[kind] if steps is None else steps
    with seeded(0, torch.float32):
        if kind == "masks":
            model, eyes = OfVessels(names), drawn_eyes("train")
        else:
            model = OfPhotographs(names, bands=kind == "bands")
        optimizer = torch.optim.Adam(model.parameters())
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = 4e-3 * min(1, (step + 1) / 30) * (1 - step / steps)
            y, x = masks(eyes, 16) if kind == "masks" else patches(96)
            loss = bits_of(model, y, x).mean()
            if not loss.isfinite():
                raise FloatingPointError(f"the loss is {loss}: ask `python -m cnf check`")
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
    return model.eval().requires_grad_(False)


def bits_of(model, y, x):
    """Bits per dimension of each picture, (B,), by one draw of noise."""
    return -model.log_prob(y, x) / (y[0].numel() * math.log(2))


# -- what each lesson shows: pictures by their titles, numbers by their names, and the unit --------


class Released:
    """A released flow, called as yours is."""

    def __init__(self, name):
        import cnf

        path = Path(__file__).resolve().parents[1] / "results" / name / "weights.safetensors"
        self.flow = cnf.load(name if name == "sr" else path).eval().requires_grad_(False)
        self.calls = 0  # each has noise of its own

    def log_prob(self, y, x):
        self.calls += 1
        return self.flow.log_prob(y, x, keyed(self.calls, range(len(y))))

    def sample(self, x, tau=1.0):
        return self.flow.sample(x, 1, tau, generator=keyed(0, range(len(x))))[0]


def off(y, x):
    """How far the half of y is from x, grey levels."""
    return (low_resolution(y, round_x=False) - x).square().mean().sqrt().item()


def db(error):
    return 10 * math.log10(255**2 / error)


def lesson_10(model):
    (y, x), (_, half) = kept_photographs()
    one = model.sample(half)
    bits = bits_of(model, y, x).mean().item()
    return (
        {f"a draw:\nhalf off by {off(one, half):.1f}": one[0]},
        {"bits": bits},
        "bits per dimension",
    )


lesson_11 = lesson_10


def lesson_12(model):
    (y, x), (crop, half) = kept_photographs()
    log_w = torch.stack([model.log_prob(y, x) for _ in range(DRAWS)])
    many = torch.logsumexp(log_w, 0) - math.log(DRAWS)
    one, many = ((-t / (y[0].numel() * math.log(2))).mean().item() for t in (log_w[0], many))
    size = bits_of(model, crop, half).item() * crop.numel() / 8
    title = f"this picture:\n{size / 1000:.1f} kB given x"
    return (
        {title: crop[0]},
        {"one draw of noise": one, f"{DRAWS} draws": many},
        "bits per dimension",
    )


def lesson_13(model):
    (_, _), (y, x) = kept_photographs()
    points, pictures = {}, {}
    for tau in (0.0, 0.5, 1.0):
        drawn = model.sample(x.expand(DRAWS, -1, -1, -1), tau)
        points[f"tau = {tau:g}"] = db((drawn - y).square().mean().item())
        pictures[f"tau = {tau:g}"] = drawn[0]
    mean = drawn.mean(0, keepdim=True)
    error = (mean - y).square().mean().item()
    points[f"mean of {DRAWS}"] = db(error)
    ratio = math.sqrt((DRAWS + 1) / DRAWS * drawn.var(0).mean().item() / error)
    pictures = {
        name + (f"\nr = {ratio:.1f}" if name == "tau = 1" else "\n"): p
        for name, p in pictures.items()
    }
    return pictures, points, "PSNR, dB"


def of_an_eye(model):
    """(y, x, samples) of a part of a test eye; samples (DRAWS,H,W) of 0 and 1."""
    eye = drawn_eyes("test")[1][PART]
    y, x = eye[3:][None], eye[:3][None]
    return y, x, model.sample(x.expand(DRAWS, -1, -1, -1))[:, 0].numpy() > 0.5


def f_score(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def lesson_14(model):
    y, x, drawn = of_an_eye(model)
    pictures = {"one draw": drawn[0], "another": drawn[1]}
    return pictures, {"bits": bits_of(model, y, x).item()}, "bits per pixel"


def lesson_15(model):
    y, _, drawn = of_an_eye(model)
    truth, p = y[0, 0].numpy() > 0.5, drawn.mean(0)
    points = {
        "a sample": float(np.mean([f_score(s, truth) for s in drawn])),
        "marginals at 1/2": float(f_score(p >= 0.5, truth)),
        "$\\sum p^2 / \\sum p$": float(((DRAWS * p - 1) * p).sum() / ((DRAWS - 1) * p.sum())),
    }
    return {"marginals": p}, points, "F"


def pieces(mask):
    return ndimage.label(mask, np.ones((3, 3)))[1]


def lesson_16(model):
    _, _, drawn = of_an_eye(model)
    mixed = np.random.default_rng(0).permuted(drawn, axis=0)
    points = {
        "samples": float(np.mean([pieces(s) for s in drawn])),
        "shuffled": float(np.mean([pieces(s) for s in mixed])),
    }
    held = 0
    for eye in (eyes := drawn_eyes("test")):
        x = eye[:3][PART][None].expand(DRAWS, -1, -1, -1)
        low, high = np.quantile(model.sample(x).mean((1, 2, 3)), [0.05, 0.95])
        held += low <= eye[3:][PART].mean().item() <= high
    title = f"a draw: {held} of {len(eyes)}\nareas in 90 %"
    return {title: drawn[0], "shuffled\n": mixed[0]}, points, "pieces"


def lesson_17(model):
    y, x, drawn = of_an_eye(model)
    truth, n = y[0, 0].numpy() > 0.5, DRAWS
    # a share of both labels is mixed in, as large as suits the truth best
    votes = drawn.sum(0)
    mixed = [(votes + a) / (n + 2 * a) for a in np.geomspace(0.01, 3, 40)]
    alone = min(-np.log2(np.where(truth, p, 1 - p)).mean() for p in mixed)
    points = {"its marginals alone": float(alone), "the flow": bits_of(model, y, x).item()}
    return {"marginals": drawn.mean(0), "a draw": drawn[0]}, points, "bits per pixel"


LESSONS = {10: (lesson_10, "squeeze"), 11: (lesson_11, "bands"), 12: (lesson_12, "bands")}
LESSONS |= {13: (lesson_13, "bands"), 14: (lesson_14, "masks"), 15: (lesson_15, "masks")}
LESSONS |= {16: (lesson_16, "masks"), 17: (lesson_17, "masks")}
_kept: dict = {}  # models that were trained since Python was started


def found(lesson, model):
    """What a model does in a lesson, with one seed."""
    with seeded(1, torch.float32):
        pictures, points, unit = LESSONS[lesson][0](model)
    points = {name: round(value, 4) for name, value in points.items()}
    return {
        "pictures": {t: written(p) for t, p in pictures.items()},
        "points": points,
        "unit": unit,
    }


def written(picture):
    """A picture (3,H,W) in grey levels or a map (H,W) of 0 to 1 as a PNG in letters."""
    picture = torch.as_tensor(picture)
    pixels = to_uint8(picture) if picture.ndim == 3 else (255 * picture.double()).byte().numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def given(lesson):
    """x and y of the pictures of a lesson."""
    if lesson < 14:
        y, x = kept_photographs()[1]
        return {"x": written(x[0]), "y": written(y[0])}
    eye = drawn_eyes("test")[1][PART]
    return {"x": written(eye[:3]), "y": written(eye[3])}


def show(lesson, names=None):
    """What your flow does in a lesson from 10 to 17, and the released flow beside it.

    Args:
        names: vars(my_flow), or globals() of a notebook: your flow is trained, once for lesson 10,
            once for 11 to 13 and once for 14 to 17. None: that of my_flow_solution.py, as kept.
    """
    if lesson not in LESSONS:
        raise ValueError(f"lesson = {lesson!r}: choose from 10 to 17")
    kept = json.loads(FILE.read_text())
    whose = {"yours": kept["yours"][str(lesson)], "released": kept["released"][str(lesson)]}
    if names is not None:
        kind = LESSONS[lesson][1]
        key = kind, id(names["Coupling"])
        _kept[key] = _kept.get(key) or trained(kind, names)
        whose["yours"] = found(lesson, _kept[key])
    rows = [kept["given"]["photographs" if lesson < 14 else "vessels"]]
    rows += [each["pictures"] for each in whose.values()]
    columns = max(len(row) for row in rows)
    size = (1.75 * columns + 2.7, 5.4)
    fig, axes = plt.subplots(3, columns + 1, figsize=size, width_ratios=[1.75] * columns + [2.7])
    for line, (who, row) in zip(
        axes, zip(("", "yours", "released"), rows, strict=True), strict=True
    ):
        for ax in line:
            ax.axis("off")
        for ax, (title, text) in zip(line, row.items(), strict=False):
            picture = np.array(Image.open(io.BytesIO(base64.b64decode(text))))
            ax.imshow(picture, cmap="gray", vmin=0, vmax=255)
            ax.set_title(f"{who}, {title}" if who and ax is line[0] else title, fontsize=9)
    ax = fig.add_subplot(axes[0, -1].get_gridspec()[:, -1])
    points = [
        (f"{who}: {name}", value, who)
        for who, each in whose.items()
        for name, value in each["points"].items()
    ]
    values = [value for _, value, _ in points]
    digits = 0 if whose["yours"]["unit"] == "pieces" else 1 if lesson == 13 else 2
    for row, (name, value, who) in enumerate(points):
        ax.plot(
            value,
            row,
            "o" if who == "yours" else "s",
            color="#0173b2" if who == "yours" else "#999999",
        )
        ax.text(0, row - 0.22, f"{name} {value:.{digits}f}", va="center", fontsize=9)
    ax.set(
        xlim=(0, 1.15 * max(values)),
        ylim=(len(points) - 0.6, -0.7),
        yticks=[],
        xlabel=whose["yours"]["unit"],
    )
    ax.grid(axis="y", visible=False)
    plt.show()


if __name__ == "__main__":
    import time

    import my_flow_solution

    torch.set_num_threads(1)
    names = vars(my_flow_solution)
    kept = {"given": {"photographs": given(10), "vessels": given(14)}, "yours": {}, "released": {}}
    models = {}
    for kind in STEPS:
        start = time.process_time()
        models[kind] = trained(kind, names)
        print(f"{kind}: {time.process_time() - start:.0f} s of a core", flush=True)
    theirs = {kind: Released(name) for kind, name in RELEASED.items()}
    for lesson, (_, kind) in LESSONS.items():
        kept["yours"][lesson] = found(lesson, models[kind])
        kept["released"][lesson] = found(
            lesson, theirs["vessels" if lesson > 13 else "photographs"]
        )
        print(
            lesson, kept["yours"][lesson]["points"], kept["released"][lesson]["points"], flush=True
        )
    FILE.write_text(json.dumps(kept, indent=1) + "\n")
