"""Where your flow stands after each lesson: what its model draws, and its bits on kept drawings.

`python so_far.py` trains the models of my_flow_solution.py, a quarter of an hour of one core, and
writes so_far.json; `show` draws it. `show(3, vars(my_flow))` trains the model of your classes and
that of ours: the same steps, from the same seed.
`show_tiny` is about a world that is small enough to count.
"""

import json
import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from cnf.lessons import (
    TRUTH,
    TinyFlow,
    all_strokes,
    bits,
    flow_so_far,
    kept_strokes,
    train,
    train_tiny,
)

FILE = Path(__file__).with_name("so_far.json")
NAMES = {
    1: "every pixel by itself",
    2: "a scale and a shift",
    3: "couplings",
    4: "two scales",
    5: "priors and couplings see x",
    6: "uniform noise",
    7: "half-infinite noise",
    8: "weighted likelihood",
    9: "all of it, trained longer",
}
STEPS, DRAWN, COLUMNS = 1_500, 6, 3
TINY_STEPS = (50, 100, 200, 400, 800, 1_200, 1_600, 2_000)


def written(drawings):
    """Each drawing as 256 characters 0 and 1."""
    return ["".join(str(int(label)) for label in y.flatten()) for y in drawings]


def found(model):
    """Its bits per pixel, and one sample for each of the first kept drawings."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        samples = model.sample(kept_strokes(DRAWN)[1])
    return {"bits": round(bits(model, 1024), 4), "draws": written(samples)}


def pictures(rows):
    """Rows of 0 and 1 as drawings, three beside each other, with gaps between them."""
    canvas = np.full((17 * len(rows) // COLUMNS - 1, 17 * COLUMNS - 1), np.nan)
    for k, row in enumerate(rows):
        top, left = 17 * (k // COLUMNS), 17 * (k % COLUMNS)
        canvas[top : top + 16, left : left + 16] = np.reshape([int(c) for c in row], (16, 16))
    return canvas


def show(lesson, names=None, steps=300):
    """The true drawings, those of this lesson's model, and the bits of all models so far.

    Args:
        names: vars(my_flow), or globals() of a notebook: your model and ours are trained for
            `steps` steps each, and both curves are shown in place of the bits.
    """
    if names is not None:
        return show_both(lesson, names, steps)
    kept = json.loads(FILE.read_text())
    points = {NAMES[k]: kept[str(k)]["bits"] for k in range(1, lesson + 1)}
    right = beside({"true": kept["truth"], "drawn": kept[str(lesson)]["draws"]}, len(points))
    values = list(points.values())
    right.hlines(range(len(values)), 0, values, color="#bbbbbb", linewidth=1)
    right.axvline(TRUTH, color="#222222", lw=1, ls=":")  # no model needs fewer
    right.plot(values, range(len(values)), "o", color="#999999")
    right.plot(values[-1:], [lesson - 1], "o")
    for row, (name, value) in enumerate(points.items()):
        right.text(value + 0.06, row, f"{value:.2f}  {name}", va="center", fontsize=9)
    right.set_yticks(range(lesson), range(1, lesson + 1), fontsize=9)
    right.set_xticks([0, 0.5, 1])
    right.set(xlim=(0, 1.9), xlabel="bits per pixel, at most", ylim=(len(points), -1))
    plt.show()


def show_both(lesson, names, steps):
    """The true drawings, those of ours and of yours after equally many steps, and both curves."""
    import my_flow_solution

    curves, draws = {}, {"true": json.loads(FILE.read_text())["truth"]}
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)  # whatever the page computes in
    try:
        for name, classes in {"ours": vars(my_flow_solution), "yours": names}.items():
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                curves[name] = {}
                model = trained(lesson, classes, steps, curves[name])
            draws[name] = found(model)["draws"]
    finally:
        torch.set_default_dtype(default)
    right = beside(draws, 8)
    for (name, curve), style in zip(curves.items(), ("o--", "o-"), strict=True):
        right.plot(list(curve), list(curve.values()), style, label=f"{name}, {curve[steps]:.2f}")
    right.axhline(TRUTH, color="#222222", lw=1, ls=":")  # no model needs fewer
    right.set(xlabel="step", ylim=(0, None))
    right.set_title("bits per pixel, at most", fontsize=9)
    right.legend()
    plt.show()


def beside(drawn, rows):
    """Panels of drawings, and one more, which is returned, with place for so many rows of text."""
    size = (2.4 * len(drawn) + 2.4, max(1.8, 0.8 + 0.24 * rows))
    ratios = [2] * len(drawn) + [3]
    _, (*left, right) = plt.subplots(1, len(ratios), figsize=size, width_ratios=ratios)
    for panel, (name, drawings) in zip(left, drawn.items(), strict=True):
        panel.imshow(pictures(drawings), cmap="Greys", vmin=-0.2)
        panel.set(xticks=[], yticks=[], ylabel=name)
        panel.spines[:].set_visible(False)
    return right


def bits_of_all(model, world, draws=16):
    """Bits per pixel of all drawings of the tiny world, a mean over draws of noise."""
    with torch.no_grad():
        found = [model.log_prob(world.y, world.x) for _ in range(draws)]
    return world.bits(sum(found) / draws)


def tiny_curve(names):
    """{step: bits per pixel} of a tiny flow in training."""
    world, found = all_strokes(), {}
    model = TinyFlow(names)
    for step, _ in enumerate(train_tiny(model, world, max(TINY_STEPS)), 1):
        if step in TINY_STEPS:
            found[step] = round(bits_of_all(model, world), 4)
    return found


def show_tiny():
    """The bits of a tiny flow in training, above those that no model can do without."""
    world, found = all_strokes(), json.loads(FILE.read_text())["tiny"]
    _, ax = plt.subplots(figsize=(6.5, 2.6))
    ax.plot([int(step) for step in found], list(found.values()), "o-", label="flow")
    lines = {"best per-pixel model": ("--", world.per_pixel), "truth": (":", world.truth)}
    for name, (style, value) in lines.items():
        ax.axhline(value, ls=style, color="#777777")
        ax.text(50, value + 0.02, f"{name}, {value:.3f}", fontsize=10)
    ax.set(xscale="log", xlabel="step", ylabel="bits per pixel", ylim=(0, 0.65))
    ax.legend()
    plt.show()


def trained(lesson, names, steps, curve=None):
    """The model of these classes after `steps` steps; ten times on the way its bits go into
    `curve`, {step: bits}. Raises FloatingPointError if it diverges."""
    model, every = flow_so_far(lesson, names), max(steps // 10, 1)
    for step, loss in enumerate(train(model, steps), 1):
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss}: ask `python -m cnf check my_flow.py`")
        if curve is not None and (step % every == 0 or step == steps):
            curve[step] = bits(model)
    return model


def long_flow():
    """The flow of one_file.py, trained for 6,000 steps."""
    import one_file_full

    return one_file_full.load()[0]["flow"]


if __name__ == "__main__":
    import my_flow_solution

    torch.set_num_threads(1)
    kept = {"truth": written(kept_strokes(DRAWN)[0])}
    for lesson in NAMES:
        torch.manual_seed(0)
        names = vars(my_flow_solution)
        model = long_flow() if lesson == 9 else trained(lesson, names, STEPS)
        kept[lesson] = found(model)
        print(f"lesson {lesson}: {kept[lesson]['bits']:.3f} bits per pixel", flush=True)
        FILE.write_text(json.dumps(kept, indent=1) + "\n")
    torch.manual_seed(0)
    kept["tiny"] = tiny_curve(vars(my_flow_solution))
    FILE.write_text(json.dumps(kept, indent=1) + "\n")
