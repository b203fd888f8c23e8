"""Print, write and draw what was measured."""

import json
import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure

from cnf.replication.plotting import PALETTE, save_figure, styled
from tools.bench.measure import MANY, REFERENCE
from tools.notebooks import ROOT

TASKS = {
    "train": "training step",
    "train_h": "the same, features with gradient",
    "log_prob": "log_prob",
    "sample": "sampling",
}
MIXED = ("bf16", "autocast")

# goals, as ratios to FrEIA in float32: (must, reach for)
GOALS = {
    "float32": {"train": (0.95, 0.85), "log_prob": (0.90, 0.85), "sample": (0.88, 0.80)},
    "mixed": {"train": (0.65, 0.50), "log_prob": (0.65, 0.55), "sample": (0.65, 0.55)},
}
MANY_GOAL = (0.8, 0.5)
SAVED_GOAL = 10.0  # MiB
RECOMPUTE_GOAL = 1.30  # times the stored version


def machine(device: str) -> dict[str, str | int]:
    """What the numbers depend on beside the code."""
    libraries = {name: version(name) for name in ("torch", "freia", "nflows", "normflows")}
    return {
        "name": torch.cuda.get_device_name() if device == "cuda" else processor(),
        "device": device,
        "capability": (
            ".".join(map(str, torch.cuda.get_device_capability()))
            if device == "cuda"
            else torch.backends.cpu.get_cpu_capability()
        ),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **libraries,
        "commit": commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except FileNotFoundError:  # not Linux
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else platform.machine()


def commit() -> str:
    """The commit, with a + if the package or the bench differ from it; "unknown" without git."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", "cnf", "tools/bench")
        return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((r|tm)\)", "", name.lower())).strip("-")


# -- the table -------------------------------------------------------------------------------------


def table(results: dict) -> str:
    """The whole result as text, one line a candidate."""
    here, work, rows = results["machine"], results["work"], results[clock(results)]
    width = max(map(len, rows)) + 1
    lines = [
        f"{here['name']}, {here['device']}, {here['capability']}, {here['threads']} thread(s), "
        f"torch {here['torch']}, {here['date']}, commit {here['commit']}",
        ", ".join(f"{key} {value}" for key, value in work.items()),
        "",
        f"Milliseconds of {'CPU' if here['device'] == 'cpu' else 'wall'} time, and the ratio to "
        f"{REFERENCE} in the same round: median (quartiles) of {results['rounds']} rounds",
        "".ljust(width) + "".join(title.rjust(34) for title in TASKS.values()),
    ]
    for name, tasks in rows.items():
        line = name.ljust(width)
        for task in TASKS:
            line += f"{1000 * tasks[task]['seconds']:.1f}  {spread(tasks[task]['ratio'])}".rjust(34)
        lines.append(line)
    lines += ["", f"{MANY} samples of one x, per sample, against one sample: median (quartiles)"]
    for name, ratio in results["per_sample"].items():
        lines.append(name.ljust(width) + spread(ratio))
    lines += ["", "MiB kept for backward, without and with the gradient of the features"]
    for name, memory in results["memory"].items():
        line = name.ljust(width) + "".join(f"{m['saved']:10.1f}" for m in memory.values())
        if "peak" in memory["train"]:
            line += "   peak" + "".join(f"{m['peak']:10.1f}" for m in memory.values())
        lines.append(line)
    lines += ["", "Growth of our training step: exponents, with standard errors"]
    lines.append(
        "".ljust(10)
        + "".join(t.rjust(22) for t in ("values", "expected", "time stored", "time recomputed"))
        + "".join(t.rjust(22) for t in ("MiB stored", "MiB recomputed"))
    )
    for factor, row in results["growth"].items():
        line = factor.ljust(10) + ", ".join(map(str, row["values"])).rjust(22)
        line += row["expected"].rjust(22)
        for what in ("seconds", "saved"):
            for kind in ("stored", "recomputed"):
                line += with_error(row[kind][f"{what}_exponent"]).rjust(22)
        lines.append(line)
    lines += ["", "Goals"]
    lines += [f"{'met   ' if met else 'MISSED'}  {text}" for text, met in goals(results)]
    return "\n".join(lines)


def spread(quartiles: list[float]) -> str:
    low, middle, high = quartiles
    return f"{middle:.3f} ({low:.3f}-{high:.3f})"


def with_error(exponent: list[float | None]) -> str:
    slope, error = exponent
    return f"{slope:.2f}" if error is None else f"{slope:.2f} ± {error:.2f}"


def clock(results: dict) -> str:
    """CPU seconds say more on shared cores; on a GPU they say nothing."""
    return "wall" if results["machine"]["device"] == "cuda" else "cpu"


def goals(results: dict) -> list[tuple[str, bool]]:
    """Each goal with what was measured, and whether that meets it: our best row counts."""
    rows, found = results[clock(results)], []
    mine = {name: row for name, row in rows.items() if name.startswith("ours")}
    for precision, tasks in GOALS.items():
        is_mixed = precision == "mixed"
        names = [n for n in mine if any(word in n for word in MIXED) == is_mixed]
        for task, (must, reach) in tasks.items():
            best = min(names, key=lambda n: mine[n][task]["ratio"][1])
            ratio = mine[best][task]["ratio"][1]
            text = f"{precision} {task}: {ratio:.3f} ({best}); must {must}, reach for {reach}"
            found.append((text, ratio <= must))
    name, (_, ratio, _) = min(
        ((n, q) for n, q in results["per_sample"].items() if n.startswith("ours")),
        key=lambda pair: pair[1][1],
    )
    must, reach = MANY_GOAL
    text = f"{MANY} samples of one x: {ratio:.3f} ({name}); must {must}, reach for {reach}"
    found.append((text, ratio <= must))
    saved = results["memory"]["ours, recompute"]["train"]["saved"]
    found.append((f"recompute keeps {saved:.1f} MiB; must {SAVED_GOAL}", saved <= SAVED_GOAL))
    slower = results["recompute"]
    text = f"recompute over stored time: {spread(slower)}; must {RECOMPUTE_GOAL}"
    found.append((text, slower[1] <= RECOMPUTE_GOAL))
    return found


# -- files -----------------------------------------------------------------------------------------


def write(results: dict, folder: Path) -> list[Path]:
    """<slug>.json, whole or not at all, and <slug>.png, if its pixels change."""
    results = rounded(results)
    path = folder / f"{slug(results['machine']['name'])}.json"
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".tmp")
    text = json.dumps(results, indent=1, ensure_ascii=False)
    partial.write_text(text + "\n", "utf-8")
    os.replace(partial, path)
    return [path, save_figure(draw(results), path.with_suffix(".png"))]


def rounded(value):
    """Four digits: more would be noise."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(part) for part in value]
    if isinstance(value, float):
        return float(f"{value:.4g}")
    return value


@styled
def draw(results: dict) -> Figure:
    """Ratios to FrEIA, memory, and growth."""
    figure, axes = plt.subplot_mosaic(
        [["ratio", "ratio"], ["memory", "growth"]], figsize=(10, 8.5), height_ratios=[1.3, 1]
    )
    rows = results[clock(results)]
    axis = axes["ratio"]
    for n, (task, title) in enumerate(TASKS.items()):
        ratios = [row[task]["ratio"] for row in rows.values()]
        middles = [middle for _, middle, _ in ratios]
        bars = [
            [middle - low for low, middle, _ in ratios],
            [high - middle for _, middle, high in ratios],
        ]
        places = [place + 0.16 * (n - 1.5) for place in range(len(rows))]
        axis.errorbar(
            middles,
            places,
            xerr=bars,
            fmt="os^D"[n],
            markersize=5,
            lw=1.2,
            color=PALETTE[n],
            label=title,
        )
    axis.axvline(1, color="#222222", lw=1)
    axis.set_yticks(range(len(rows)), list(rows))
    axis.invert_yaxis()
    axis.set(xlabel=f"time over that of {REFERENCE}, same round: median and quartiles")
    axis.set_title(f"{results['machine']['name']}, {results['machine']['threads']} thread(s)")
    axis.legend(loc="upper center", bbox_to_anchor=(0.4, -0.14), ncols=4, fontsize=10)

    axis = axes["memory"]
    saved = [memory["train"]["saved"] for memory in results["memory"].values()]
    axis.barh(range(len(saved)), saved, color=PALETTE[0])
    axis.bar_label(axis.containers[0], fmt="%.1f", padding=3, fontsize=9)
    axis.set_yticks(range(len(saved)), list(results["memory"]), fontsize=9)
    axis.invert_yaxis()
    axis.set(xlabel="MiB kept for backward", xlim=(0, 1.2 * max(saved)))

    axis = axes["growth"]
    for n, (factor, row) in enumerate(results["growth"].items()):
        start = results["work"][factor]
        at = row["values"].index(start) if start in row["values"] else 0
        x = [value / row["values"][at] for value in row["values"]]
        seconds = row["stored"]["seconds"]
        slope = with_error(row["stored"]["seconds_exponent"])
        axis.plot(
            x,
            [s / seconds[at] for s in seconds],
            marker="os^D"[n],
            color=PALETTE[n],
            label=f"{factor}: {slope} (expected {row['expected']})",
        )
    axis.set_xscale("log", base=2)
    axis.set_yscale("log", base=2)
    axis.set(xlabel="factor, relative", ylabel="our training step, relative")
    axis.legend(fontsize=9)
    return figure
