"""Make the files that the live pages run: python -m tools.live [RUN ...] -> book/_static/live/.

- `sr-model.mjs`, `vessels-model.mjs`: flows of `results/` (or any run folders) as lists of layers,
  their weights in float16. Batch norm becomes a gain and a bias of the convolution before it.
- `sr-baseline-model.mjs`: the factorised model, in the same form: its only layer is its head.
- `kernel.mjs`: tools/live.c as WebAssembly, three times: with fused multiply-adds, with vectors of
  four, and for browsers without vectors. Made only with --kernel, by the Zig compiler: `make live`.
- `photographs.mjs`, `eyes.mjs`: the pictures a reader chooses from. Made only with --photographs.

These are scripts, since a page opened from disk may load nothing else, and end in .mjs, since
Jupyter Book puts every .js on every page.
"""

import argparse
import base64
import hashlib
import json
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from cnf.factorised import LEVELS, DiscretisedLogistic
from cnf.features import ResidualFeatures, UNetFeatures
from cnf.flow import ConditionalFlow, ConditionalModel
from cnf.fused import inverse_affine
from cnf.layers import (
    ActNorm,
    AffineCoupling,
    BinaryDequantization,
    ConditionalAffine,
    Conv1x1,
    GaussianPrior,
    Residual,
    Split,
    Squeeze,
    Subbands,
    UniformDequantization,
)
from cnf.layers.prior import MAX_LOG_SIGMA
from cnf.nets import CouplingNet
from cnf.replication import releases
from cnf.replication.answers import view as fundus_view
from cnf.replication.data import fundus
from cnf.replication.data.embedded import photograph
from cnf.replication.data.images import Photograph

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "tools/live.c"
OUT = ROOT / "book/_static/live"
RUNS = {name: releases.RELEASES[name] for name in ("sr", "sr-baseline", "vessels")}
FLAGS = ["-target", "wasm32-freestanding", "-O3", "-nostdlib", "-Wl,--no-entry"]
FLAGS += ["-Wl,--strip-all", "-Wl,--import-memory", "-Wl,--export=__heap_base"]
KERNELS = {"relaxed": ["-msimd128", "-mrelaxed-simd"], "simd": ["-msimd128"], "plain": []}
# name: (what it shows, its terms, rows and columns)
PHOTOGRAPHS = {
    "chelsea": ("a cat", "CC0", slice(0, 288), slice(60, 348)),
    "coffee": ("a cup of coffee", "CC0", slice(60, 348), slice(140, 428)),
    "rocket": ("a rocket", "CC0", slice(80, 368), slice(150, 438)),
}
EYES = (2000,)  # seeds of generated ones, of the test split of the embedded set
EYE_SIDE = 568  # pixels: then these are as wide as those of DRIVE


class Weights:
    """Tensors one after the other, all float32 ones before all float16 ones. A tensor is referred
    to by its offset among those of its type."""

    def __init__(self) -> None:
        self.parts: dict[str, list[bytes]] = {"<f4": [], "<f2": []}
        self.sizes = dict.fromkeys(self.parts, 0)

    def add(self, t: Tensor, kind: str = "<f2") -> int:
        start = self.sizes[kind]
        self.parts[kind].append(t.detach().double().numpy().astype(kind).tobytes())
        self.sizes[kind] += t.numel()
        return start

    def conv(self, conv: nn.Conv2d, inputs: slice = slice(None), bias: bool = True) -> list[Any]:
        """[weights, bias or null, outputs, inputs, side of the kernel] of some of its inputs."""
        gain = getattr(conv, "logs", None)
        if gain is not None:
            raise SystemExit("a gain of output channels (model.gain) is not supported")
        weight = conv.weight[:, inputs]
        b = conv.bias if bias else None
        sizes = [weight.shape[0], weight.shape[1], weight.shape[2]]
        return [self.add(weight), None if b is None else self.add(b), *sizes]

    def normed(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> list[Any]:
        """A convolution, then the gain and the bias to which batch norm comes down, float32."""
        mean, var = norm.running_mean.double(), norm.running_var.double()  # type: ignore[union-attr]
        gain = norm.weight.double() / (var + norm.eps).sqrt()
        return [*self.conv(conv), self.add(gain, "<f4"), self.add(norm.bias - mean * gain, "<f4")]


def features_of(features: nn.Module, weights: Weights) -> dict[str, Any]:
    match features:
        case ResidualFeatures():
            blocks: list[Any] = [*features.body]
            full = {} if features.full is None else {"full": weights.conv(features.full)}
            return full | {
                "kind": "residual",
                "fractions": features.fractions,
                "clip": features.clip,
                "activation": blocks[0].activation if blocks else "relu",
                "head": weights.conv(features.head),
                "blocks": [[weights.conv(b.first), weights.conv(b.second)] for b in blocks],
                "down": [weights.conv(conv) for conv in features.down],  # type: ignore[arg-type]
            }
        case UNetFeatures():

            def pair(block: Any) -> list[Any]:
                return [weights.normed(block[k], block[k + 1]) for k in (0, 3)]

            return {
                "kind": "unet",
                "down": [pair(block) for block in features.down],
                "lift": [weights.conv(conv) for conv in features.lift],  # type: ignore[arg-type]
                "up": [pair(block) for block in features.up],
            }
    raise SystemExit(f"features of the kind {type(features).__name__} are not supported")


def layers_of(layers: list[nn.Module], weights: Weights) -> list[dict[str, Any]]:
    exported_layers: list[dict[str, Any]] = []
    while layers:
        layer = layers.pop(0)
        match layer:
            case UniformDequantization():
                exported_layers.append({"kind": "uniform", "bins": layer.bins})
            case BinaryDequantization() if [type(q) for q in layer.layers] == [ConditionalAffine]:
                affine: Any = layer.layers[0]
                net = net_of(affine.net, weights, labels=affine.channels)
                sizes = {"channels": affine.channels, "bound": affine.max_log_scale}
                exported_layers.append(
                    {"kind": "binary", "noise": layer.noise, **sizes, "net": net}
                )
            case Residual():
                exported_layers.append({"kind": "residual", "scale": layer.scale})
            case Subbands() | Squeeze():
                exported_layers.append({"kind": type(layer).__name__.lower()})
            case ActNorm():
                matrix = torch.eye(len(layer.bias), dtype=torch.float64)
                if layers and isinstance(layers[0], Conv1x1):
                    matrix = layers.pop(0).weight().double()  # type: ignore[operator]
                matrix = matrix * layer.log_scale.double().exp().flatten()
                exported_layers.append(
                    linear(matrix, matrix @ layer.bias.double().flatten(), weights)
                )
            case AffineCoupling(scale="bounded"):
                sizes = {"flip": layer.flip, "channels": layer.num_b, "bound": layer.max_log_scale}
                net = net_of(layer.net, weights)
                exported_layers.append({"kind": "coupling", **sizes, "net": net})
            case Split(scale="bounded") | GaussianPrior(scale="bounded"):
                is_split = isinstance(layer, Split)
                num_kept, num_left = (
                    (layer.num_kept, layer.num_left) if is_split else (0, layer.channels)
                )
                sizes = {"kept": num_kept, "channels": num_left, "bound": MAX_LOG_SIGMA}
                exported_layers.append(
                    {"kind": "prior", **sizes, "net": net_of(layer.net, weights)}
                )
            case _:
                raise SystemExit(f"a layer is not supported: {layer}")
    return exported_layers


def linear(matrix: Tensor, bias: Tensor, weights: Weights) -> dict[str, Any]:
    """z = W y + b and its inverse, in float32."""
    inverse, origin = inverse_affine(matrix[None], bias[None])
    tensors = {"weight": matrix, "bias": bias, "inverse": inverse[0], "origin": origin[0]}
    offsets = {name: weights.add(t, "<f4") for name, t in tensors.items()}
    log_det = torch.linalg.slogdet(matrix)[1].item()
    return {"kind": "linear", "channels": len(bias), "log_det": log_det, **offsets}


def net_of(net: nn.Module | None, weights: Weights, labels: int = 0) -> dict[str, Any]:
    """A network of a layer: its convolutions of y, of h (which holds the bias), and the rest. The
    last `labels` channels of the network's h count as y."""
    if not isinstance(net, CouplingNet) or not (net.y_channels or net.h_channels):
        raise SystemExit(f"a network of the kind {type(net).__name__} is not supported")
    y, h = net.y_channels, net.h_channels
    if net.middle is None:
        from_y = weights.conv(net.last, slice(0, y), bias=not h) if y else None
        from_h = weights.conv(net.last, slice(y, None)) if h else None
        return {"clip": net.clip, "y": from_y, "h": from_h}
    if not all(isinstance(norm, nn.Identity) for norm in net.norms):
        raise SystemExit("normalization inside networks (model.norm) is not supported")
    from_y = weights.conv(net.from_y) if net.from_y is not None else None
    from_h = None
    if net.from_h is not None:
        from_h = weights.conv(net.from_h, slice(0, h - labels))
        if labels:
            from_y = weights.conv(net.from_h, slice(h - labels, None), bias=False)
    hidden = {"middle": weights.conv(net.middle), "last": weights.conv(net.last)}
    options = {"clip": net.clip, "activation": "relu"}  # said as features say theirs
    return {**options, "y": from_y, "h": from_h, **hidden}


@torch.no_grad()
def rounded(model: ConditionalModel) -> None:
    """Round the weights to float16, in place."""
    for p in model.parameters():
        p.copy_(p.half().float())


def exported(run: str) -> tuple[str, str]:
    """The name of a model on its page, and its script."""
    folder = Path(run) if Path(run).is_dir() else ROOT / "results" / run
    loaded = releases.load(folder / "weights.safetensors").eval()
    if not isinstance(loaded, ConditionalFlow | DiscretisedLogistic) or loaded.config is None:
        raise SystemExit(f"{run} is no flow and no discretised logistic of a run")
    name, weights = loaded.config.task, Weights()
    rounded(loaded)
    features = features_of(loaded.features, weights)
    if isinstance(loaded, ConditionalFlow):
        layers = layers_of([*loaded.layers], weights)
    else:
        name += "-baseline"
        layers = [{"kind": "logistic", "bins": LEVELS, "net": {"h": weights.conv(loaded.head)}}]
    model = {
        "name": folder.name,
        "parameters": sum(p.numel() for p in loaded.parameters()),
        "multiple": loaded.multiple,
        "factor": loaded.factor,
        "features": features,
        "layers": layers,  # from y to z; weights by where they begin
        "halves": 4 * weights.sizes["<f4"],  # bytes before the float16 ones
    }
    data = base64.b64encode(b"".join(weights.parts["<f4"] + weights.parts["<f2"])).decode()
    text = json.dumps(model, separators=(",", ":"))
    return name, script(name, f'{{model: {text},\nweights: "{data}"}}')


def script(name: str, value: str) -> str:
    name = name.replace("-", "_")
    return f"// Written by tools/live.py.\n(window.LIVE ??= {{}}).{name} = {value};\n"


def compiled(flags: list[str]) -> bytes:
    """tools/live.c as WebAssembly."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "kernel.wasm"
        command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, *flags, "-o", str(target)]
        subprocess.run([*command, SOURCE.name], cwd=SOURCE.parent, check=True)
        return target.read_bytes()


def kernel_source() -> str:
    """The hash of what the kernels are made from."""
    return hashlib.sha256(SOURCE.read_bytes() + json.dumps([FLAGS, KERNELS]).encode()).hexdigest()


def kernels() -> str:
    kernels_by_name = {"source": kernel_source()}
    kernels_by_name |= {
        name: base64.b64encode(compiled(flags)).decode() for name, flags in KERNELS.items()
    }
    return script("kernel", json.dumps(kernels_by_name, indent=0))


def photographs() -> str:
    """Crops of scikit-image's photographs, as PNG, which changes no grey level."""
    entries = []
    for name, (shows, terms, rows, columns) in PHOTOGRAPHS.items():
        cut = np.ascontiguousarray(photograph(name)[rows, columns])
        src = picture(cut, "PNG", optimize=True)
        note = f"Photograph of {shows}, {terms}."
        entries.append({"name": name, "shows": shows, "note": note, "src": src})
    return script("photographs", json.dumps(entries, indent=0))


def eyes() -> str:
    """scikit-image's retina, as `cnf sample vessels` resizes it for the model, and generated eyes
    with their vessels; as lossless WebP and PNG."""
    entries = []
    for name, (note, x, y) in eye_pictures().items():
        src = picture(x, "WEBP", lossless=True, quality=100, method=6)
        truth = None if y is None else picture(y, "PNG", optimize=True)
        entries.append({"name": name, "shows": note, "note": note, "src": src, "truth": truth})
    return script("eyes", json.dumps(entries, indent=0))


def eye_pictures() -> dict[str, tuple[str, np.ndarray, np.ndarray | None]]:
    """{name: (what it shows, x uint8 (H,W,3), y bool (H,W) or None)}."""
    pixels, config = photograph("retina"), releases.load(releases.find_weights("vessels")).config
    photo = Photograph(pixels, None, False, None, ())
    view = fundus_view.view(photo, config, Path("retina"))  # type: ignore[arg-type]
    eyes_by_name: dict[str, Any] = {
        "retina": ("Photograph of a retina, CC0.", view.resized(pixels), None)
    }
    for seed in EYES:
        eye = fundus.generate(seed, EYE_SIDE)
        x, y = eye.x.permute(1, 2, 0).numpy(), eye.y[0].numpy() > 0
        eyes_by_name[f"eye-{seed}"] = (
            f"A generated eye, seed {seed}: its vessels are known.",
            x,
            y,
        )
    return eyes_by_name


def picture(pixels: np.ndarray, kind: str, **options: Any) -> str:
    """The address of a picture that holds its own file."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(file.getvalue()).decode()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "runs", nargs="*", default=list(RUNS.values()), help="folders of results/, or any runs"
    )
    parser.add_argument("--kernel", action="store_true", help="compile the kernel too")
    parser.add_argument("--photographs", action="store_true", help="make the pictures too")
    args = parser.parse_args()
    files = {f"{name}-model.mjs": text for name, text in map(exported, args.runs)}
    files |= {"kernel.mjs": kernels()} if args.kernel else {}
    files |= {"photographs.mjs": photographs(), "eyes.mjs": eyes()} if args.photographs else {}
    for name, text in files.items():
        (OUT / name).write_text(text, "utf-8", newline="\n")
        print(f"{(OUT / name).relative_to(ROOT)}: {len(text) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
