"""A second opinion: log p(y|x) of a committed flow, in NumPy alone.

Reads a safetensors file (the configuration is inside) and scores given pictures under given noise.
Nothing of the package and no torch is used; everything is float64. Written from the formulas:
the paper and the chapters of the book.

    python tests/referee.py weights.safetensors pictures.npz

where pictures.npz holds y (B,C,H,W), x (B,3,h,w) in grey levels, and `noise` (B,C,H,W): uniform in
[0, 1) for 8-bit targets, standard logistic or normal for masks. Prints log p(y|x), nats, a picture
a line.
"""

import json
import sys
from pathlib import Path

import numpy as np
from safetensors import safe_open

KNOWN = {
    "kind": ["flow", "autoregressive"],
    "dequantization": ["uniform", "binary", None],
    "scale": ["bounded", "softplus", "additive"],
    "gain": [False],
}
# what files do not say, and what older ones could not
DEFAULTS = {
    "residual": None,
    "subbands": False,
    "clip": None,
    "norm": "none",
    "ar_width": 0,
    "ar_clip": None,
    "mixture": 1,
    "activation": "relu",
    "features": {"fractions": False, "clip": None, "activation": "relu"},
}
# of version 0.2, at the only value that the referee knows
OLDER = {
    "low_steps": 0,
    "lu": False,
    "prior": "conditional",
    "couplings_see_x": True,
    "q_steps": 0,
    "activation": "relu",
}
SUBBANDS = {"residual": 8.0, "subbands": True}
KINDS = {
    "glow": {},
    "likelihood_alone/with_pixel_loss": {},
    "subband-flow": SUBBANDS,
    "subband-autoregressive-flow": SUBBANDS | {"levels": 1},
    "autoregressive-flow": {"levels": 1},
}


def log_prob(path, y, x, noise):
    """log p(y|x) in nats, (B,), of the flow in the file `path`, for this noise."""
    weights, model = read(path)
    flow = Flow(weights, model, np.asarray(x, np.float64))
    if model["kind"] == "autoregressive":
        return flow.score_labels(np.asarray(y, np.float64))
    return flow.score(np.asarray(y, np.float64), np.asarray(noise, np.float64))


def read(path):
    """(weights by name, float64; the model: what it is made of)."""
    with safe_open(path, framework="numpy") as file:
        weights = {name: file.get_tensor(name).astype(np.float64) for name in file.keys()}
        model = described(file.metadata())
    if model["kind"] == "autoregressive":
        model |= {"dequantization": None, "levels": 0, "steps": 0, "scale": "bounded"}
        model["gain"] = False
    model = DEFAULTS | model
    model["features"] = DEFAULTS["features"] | model["features"]
    for key, known in KNOWN.items():
        if model.get(key) not in known:
            raise ValueError(f"the referee knows {key} in {known}, not {model.get(key)!r}")
    model["prior_scale"] = "softplus" if model["scale"] == "softplus" else "bounded"
    return weights, model


def described(said):
    """Kind and options of the model, of a file of today or of version 0.2."""
    if "kind" not in said:
        old = json.loads(said["config"])["model"]
        for key, value in OLDER.items():
            if old.get(key, value) != value:
                raise ValueError(f"the referee knows {key} = {value!r}, not {old[key]!r}")
        return old
    model, kind = json.loads(said["arguments"]), said["kind"]
    if kind in KINDS:
        return model | KINDS[kind] | {"kind": "flow"}
    return model | {"kind": kind.split("/")[-1]}


class Flow:
    """The fold over layers; the weights of layer `number` of the list `stack` come next."""

    def __init__(self, weights, model, x):
        self.weights, self.model, self.stack, self.number = weights, model, "layers", 0
        kinds = ("residual", "rrdb", "unet", "vgg")
        if model["features"]["kind"] not in kinds:
            raise ValueError(f"the referee knows features of kind {', '.join(kinds)}")
        self.h = getattr(self, model["features"]["kind"] + "_features")(x)

    def score(self, y, noise):
        m = self.model
        v, total = self.dequantize(y, noise)
        if m["residual"] is not None:
            v = (v - self.h[0][:, : v.shape[1]]) * m["residual"]
            total = total + v[0].size * np.log(m["residual"])
            self.number += 1
        for k in range(0 if m["levels"] else m["steps"]):
            v, term = self.flat_step(v, self.h[0], flip=k % 2 == 1)
            total = total + term
        for level in range(1, m["levels"] + 1):
            h, detail = self.h[level], 3 * v.shape[1]
            v = subbands(v) if level == 1 and m["subbands"] else squeeze(v)
            self.number += 1
            if level == 1 and m["subbands"]:  # the low band leaves at once
                v, term = self.actnorm(v)
                total = total + term + self.gaussian(v[:, detail:], v[:, :detail], h)
                v = v[:, :detail]
            for k in range(m["steps"]):
                v, term = self.step(v, h, flip=m["flip"] and k % 2 == 1)
                total = total + term
            if level < m["levels"]:
                kept = v.shape[1] - v.shape[1] // 2
                total = total + self.prior(v[:, kept:], v[:, :kept], h)
                v = v[:, :kept]
        return total + self.prior(v, None, self.h[-1])

    def score_labels(self, y):
        """log P(y|x) of the masked convolutions, exact: labels of a 2x2 block in turn."""
        sign = squeeze(2 * y - 1)
        logits = self.causal_net("net", sign, squeeze(self.h[0]))[:, :, 0]
        return total_of(-softplus(-sign * logits))

    # -- terms -------------------------------------------------------------------------------------

    def dequantize(self, y, noise):
        """v and -log q(v|y,x)."""
        self.number += 1
        if self.model["dequantization"] == "uniform":
            return (y + noise) / 256, np.full(len(y), -y[0].size * np.log(256))
        sign = 2 * y - 1
        context = np.concatenate([self.h[0], sign], axis=1)
        raw, shift = np.split(self.net("layers.0.layers.0.net", None, context), 2, axis=1)
        log_s = bounded(raw, 5.0)
        w, log_det = noise * np.exp(log_s) + shift, total_of(log_s)
        if self.model["noise"] == "logistic":
            log_pi = -softplus(noise) - softplus(-noise)
        else:
            log_pi = -0.5 * noise**2 - 0.5 * np.log(2 * np.pi)
        distance = np.maximum(softplus(w), np.finfo(np.float32).eps)
        return 0.5 + sign * distance, log_det + total_of(-log_pi - softplus(-w))

    def step(self, v, h, flip):
        """Activation normalization, 1x1 convolution, conditional coupling: output and log-det."""
        v, term = self.actnorm(v)
        matrix = self.get("matrix")
        v = np.einsum("oc,bchw->bohw", matrix, v)
        term = term + v.shape[2] * v.shape[3] * np.linalg.slogdet(matrix)[1]
        self.number += 1

        kept = v.shape[1] - v.shape[1] // 2
        v_a, v_b = (v[:, -kept:], v[:, :-kept]) if flip else (v[:, :kept], v[:, kept:])
        seen = self.clipped(v_a)
        log_s, shift = self.scale_and_shift(seen, h)
        v_b = v_b * np.exp(log_s) + shift
        return np.concatenate([v_b, v_a] if flip else [v_a, v_b], axis=1), term + total_of(log_s)

    def flat_step(self, v, h, flip):
        """A step of one channel, unfolded: one colour of a checkerboard given the other."""
        v, term = self.actnorm(v)
        rows, columns = np.indices(v.shape[2:])
        changed = ((rows + columns) % 2 == 1) != flip
        seen = self.clipped(np.where(changed, 0, v))
        log_s, shift = (np.where(changed, part, 0) for part in self.scale_and_shift(seen, h))
        return v * np.exp(log_s) + shift, term + total_of(log_s)

    def clipped(self, v, by="clip"):
        """What a coupling's network reads of v."""
        clip = self.model[by]
        return v if clip is None else np.clip(v, -clip, clip)

    def scale_and_shift(self, seen, h):
        """(log s, t) of the coupling that comes next."""
        out = self.net(f"{self.stack}.{self.number}.net", seen, h)
        self.number += 1
        if self.model["scale"] == "additive":
            return np.zeros_like(out), out
        raw, shift = np.split(out, 2, axis=1)
        return log_scale(raw, self.model["scale"], self.model["max_log_scale"]), shift

    def actnorm(self, v):
        """Each channel shifted and scaled: output and log-det."""
        log_s, bias = self.get("log_scale"), self.get("bias")
        self.number += 1
        return (v + bias) * np.exp(log_s), v.shape[2] * v.shape[3] * log_s.sum()

    def prior(self, z, given, h):
        """log p of what leaves, given what is kept and the features."""
        if not self.model["ar_width"]:
            return self.gaussian(z, given, h)
        seen = h if given is None else np.concatenate([h, given], axis=1)
        out = self.causal_net(f"layers.{self.number}.net", self.clipped(z, "ar_clip"), seen)
        self.number += 1
        logits, mu, raw = np.split(out, 3, axis=2)
        log_sigma = bounded(raw, 6.0)
        eps = (z[:, :, None] - mu) / np.exp(log_sigma)
        log_w = logits - np.logaddexp.reduce(logits, axis=2, keepdims=True)
        log_p = log_w - 0.5 * eps**2 - log_sigma - 0.5 * np.log(2 * np.pi)
        return total_of(np.logaddexp.reduce(log_p, axis=2))

    def gaussian(self, z, given, h):
        """log N(z; mu, sigma) with mu and sigma from what is kept and the features."""
        mu, raw = np.split(self.net(f"layers.{self.number}.net", given, h), 2, axis=1)
        log_sigma = log_scale(raw, self.model["prior_scale"], 6.0)
        self.number += 1
        eps = (z - mu) / np.exp(log_sigma)
        return total_of(-0.5 * eps**2 - log_sigma - 0.5 * np.log(2 * np.pi))

    # -- networks ----------------------------------------------------------------------------------

    def get(self, name):
        return self.weights[f"{self.stack}.{self.number}.{name}"]

    def conv(self, t, name, stride=1):
        return conv(t, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"), stride)

    def net(self, name, y_a, h):
        """The network inside a coupling or prior, of y_a and h."""
        if f"{name}.middle.weight" in self.weights:
            parts = [(y_a, "from_y"), (h, "from_h")]
            t = sum(self.conv(t, f"{name}.{part}") for t, part in parts if t is not None)
            act = ACTIVATIONS[self.model["activation"] if self.is_silu(name) else "relu"]
            t = act(self.normed(t, f"{name}.norms.0"))
            t = act(self.normed(self.conv(t, f"{name}.middle"), f"{name}.norms.1"))
        else:
            t = np.concatenate([part for part in (y_a, h) if part is not None], axis=1)
        return self.conv(t, f"{name}.last")

    def is_silu(self, name):
        """q keeps its ReLU, but for its steps."""
        return name != "layers.0.layers.0.net"

    def causal_net(self, name, y, h):
        """(B, C, outputs, H, W) from h everywhere, y before, and channels before at a position."""
        t = self.conv(h, f"{name}.from_h")
        if f"{name}.from_y.weight" in self.weights:
            t = t + self.causal(y, f"{name}.from_y", own=False)
        n = 0
        while (block := f"{name}.blocks.{n}") + ".out.weight" in self.weights:
            u = self.causal(relu(t), f"{block}.causal", own=True) + self.conv(h, f"{block}.from_h")
            t, n = t + self.conv(relu(u), f"{block}.out"), n + 1
        channels, width = y.shape[1], self.weights[f"{name}.last.weight"].shape[1]
        found, t = [], self.conv(relu(t), f"{name}.context")
        for c in range(channels):
            at = slice(c * width, (c + 1) * width)
            own = self.weights[f"{name}.own.weight"][at, :c, 0, 0]
            u = relu(t[:, at] + np.einsum("oc,bchw->bohw", own, y[:, :c]))
            outputs = len(self.weights[f"{name}.last.weight"]) // channels
            rows = slice(c * outputs, (c + 1) * outputs)
            last = (self.weights[f"{name}.last.{part}"][rows] for part in ("weight", "bias"))
            found.append(conv(u, *last))
        return np.stack(found, axis=1)

    def causal(self, t, name, own):
        """A convolution over rows above and, in its own row, positions before (or with `own`)."""
        weight, bias = self.weights[f"{name}.weight"].copy(), self.weights[f"{name}.bias"]
        radius = weight.shape[2] - 1
        weight[:, :, -1, radius + own :] = 0
        t = np.pad(t, ((0, 0), (0, 0), (radius, 0), (radius, radius)))
        windows = np.lib.stride_tricks.sliding_window_view(t, weight.shape[2:], axis=(2, 3))
        out = np.tensordot(windows, weight, axes=([1, 4, 5], [1, 2, 3])).transpose(0, 3, 1, 2)
        return out + bias[:, None, None]

    def normed(self, t, name):
        """Each map with mean 0 and variance 1 over the picture, scaled, shifted; if it has weights:
        the network of q has none."""
        if f"{name}.weight" not in self.weights:
            return t
        t = (t - t.mean((2, 3), keepdims=True)) / np.sqrt(t.var((2, 3), keepdims=True) + 1e-5)
        parts = (self.weights[f"{name}.{part}"] for part in ("weight", "bias"))
        scale, shift = (part[:, None, None] for part in parts)
        return t * scale + shift

    def residual_features(self, x):
        """h[0]: x doubled, on the scale of v; then the maps of a residual network."""
        options, t = self.model["features"], x / 256 - 0.5
        if options["fractions"]:
            t = np.concatenate([t, 2 * np.abs(x - np.rint(x))], axis=1)
        t = self.conv(t, "features.head")
        for n in range(options["blocks"]):
            block = f"features.body.{n}"
            act = ACTIVATIONS[options["activation"]]
            t = t + self.conv(act(self.conv(t, f"{block}.first")), f"{block}.second")
        if options["clip"] is not None:
            t = np.clip(t, -options["clip"], options["clip"])
        maps = [(doubled(x) + 0.5) / 256, t]
        for n in range(self.model["levels"] - 1):
            maps.append(self.conv(maps[-1], f"features.down.{n}", stride=2))
        return maps

    def rrdb_features(self, x):
        """Residual-in-residual dense blocks on x, doubled by repetition; halved for every level."""
        t = self.conv(x / 256, "features.head")
        inner = t
        for n in range(self.model["features"]["blocks"]):
            block = inner
            for m in range(3):
                block = block + 0.2 * self.dense(block, f"features.body.{n}.blocks.{m}.convs")
            inner = inner + 0.2 * block
        t = t + self.conv(inner, "features.trunk")
        h = leaky(self.conv(t.repeat(2, axis=2).repeat(2, axis=3), "features.up"))
        maps = [h]
        for n in range(self.model["levels"]):
            maps.append(self.conv(maps[-1], f"features.down.{n}", stride=2))
        if self.model["residual"] is not None:
            maps[0] = np.concatenate([(doubled(x) + 0.5) / 256, h], axis=1)
        return maps

    def dense(self, t, name):
        """Five convolutions; each reads the input and what all before it gave."""
        for n in range(4):
            t = np.concatenate([t, leaky(self.conv(t, f"{name}.{n}"))], axis=1)
        return self.conv(t, f"{name}.4")

    def unet_features(self, x):
        """The decoder's maps, from fine to coarse."""
        scales, skips, t = self.model["features"]["scales"], [], x / 128 - 1
        for n in range(scales):
            t = self.unet_block(pooled(t) if n else t, f"features.down.{n}")
            skips.append(t)
        maps = [t]
        for n in reversed(range(scales - 1)):
            t = self.conv(t, f"features.lift.{n}").repeat(2, axis=2).repeat(2, axis=3)
            t = self.unet_block(np.concatenate([skips[n], t], axis=1), f"features.up.{n}")
            maps.insert(0, t)
        return maps[: self.model["levels"] + 1]

    def vgg_features(self, x):
        """Stages of convolutions with ReLU, halved in between; each joined with the coarser."""
        scales, maps, t = self.model["features"]["scales"], [], x / 128 - 1
        for n in range(scales):
            t = pooled(t) if n else t
            stage = f"features.stages.{n}."
            for layer in sorted(int(k.split(".")[3]) for k in self.weights if is_conv(k, stage)):
                t = relu(self.conv(t, f"{stage}{layer}"))
            maps.append(self.conv(t, f"features.lateral.{n}"))
        for n in reversed(range(scales - 1)):
            maps[n] = maps[n] + maps[n + 1].repeat(2, axis=2).repeat(2, axis=3)
        return maps[: self.model["levels"] + 1]

    def unet_block(self, t, name):
        """Twice convolution, batch norm with stored statistics, ReLU."""
        for n in (0, 3):
            t = self.conv(t, f"{name}.{n}")
            mean, var, scale, shift = (
                self.weights[f"{name}.{n + 1}.{part}"][:, None, None]
                for part in ("running_mean", "running_var", "weight", "bias")
            )
            t = relu((t - mean) / np.sqrt(var + 1e-5) * scale + shift)
        return t


def relu(t):
    return np.maximum(t, 0)


def leaky(t):
    return np.where(t > 0, t, 0.2 * t)


def silu(t):
    return t / (1 + np.exp(-t))


ACTIVATIONS = {"relu": relu, "silu": silu}


def softplus(t):
    return np.logaddexp(0, t)


def bounded(raw, bound):
    """A log-scale that stays inside (-bound, bound)."""
    return bound * np.tanh(raw / bound)


def log_scale(raw, kind, bound):
    """The log of a scale: bounded, or that of softplus."""
    return bounded(raw, bound) if kind == "bounded" else np.log(softplus(raw))


def total_of(t):
    """(B, ...) -> (B,)."""
    return t.reshape(len(t), -1).sum(1)


def squeeze(t):
    """(B,C,H,W) -> (B,4C,H/2,W/2): channel c of position (i,j) in a block becomes 4c + 2i + j."""
    b, c, h, w = t.shape
    blocks = t.reshape(b, c, h // 2, 2, w // 2, 2)
    return blocks.transpose(0, 1, 3, 5, 2, 4).reshape(b, 4 * c, h // 2, w // 2)


def unsqueeze(t):
    """(B,4C,H,W) -> (B,C,2H,2W), the other way."""
    b, c, h, w = t.shape
    blocks = t.reshape(b, c // 4, 2, 2, h, w)
    return blocks.transpose(0, 1, 4, 2, 5, 3).reshape(b, c // 4, 2 * h, 2 * w)


def is_conv(name, stage):
    """Whether a weight is that of a convolution of this stage."""
    return name.startswith(stage) and name.endswith(".weight")


def pooled(t):
    """The largest of each 2x2 block."""
    b, c, h, w = t.shape
    return t.reshape(b, c, h // 2, 2, w // 2, 2).max((3, 5))


def conv(t, weight, bias, stride=1):
    """Convolution that keeps the size (odd kernels, zeros around) or halves it (2x2, stride 2)."""
    kernel = weight.shape[-1]
    edge = kernel // 2 if stride == 1 else 0
    t = np.pad(t, ((0, 0), (0, 0), (edge, edge), (edge, edge)))
    windows = np.lib.stride_tricks.sliding_window_view(t, (kernel, kernel), axis=(2, 3))
    windows = windows[:, :, ::stride, ::stride]
    out = np.tensordot(windows, weight, axes=([1, 4, 5], [1, 2, 3])).transpose(0, 3, 1, 2)
    return out if bias is None else out + bias[:, None, None]


def cubic(size, scale):
    """The matrix of a cubic resampling (a = -1/2) by 1/scale; antialiased; edges mirrored."""
    centre = (np.arange(int(size / scale))[:, None] + 0.5) * scale - 0.5
    matrix = np.zeros((len(centre), size))
    stretch = max(scale, 1)
    for at in range(-4, size + 4):
        t = np.abs(at - centre[:, 0]) / stretch
        near, far = 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
        inside = at if 0 <= at < size else -1 - at if at < 0 else 2 * size - 1 - at
        matrix[:, inside] += np.where(t <= 1, near, np.where(t <= 2, far, 0)) / stretch
    return matrix


def both_axes(rows, t, columns):
    return rows @ t @ columns.T


def doubled(x):
    """x doubled, then moved as little as possible so that it halves back to x."""
    up = both_axes(cubic(x.shape[2], 0.5), x, cubic(x.shape[3], 0.5))
    rows, columns = (cubic(size, 2) for size in up.shape[2:])
    missing = x - both_axes(rows, up, columns)
    return up + both_axes(np.linalg.pinv(rows), missing, np.linalg.pinv(columns))


def subbands(t):
    """(B,C,H,W) -> (B,4C,H/2,W/2): details of columns, of rows, of both, and the low band."""
    t = both_axes(bands(t.shape[2]), t, bands(t.shape[3]))
    h, w = t.shape[2] // 2, t.shape[3] // 2
    parts = t[:, :, :h, w:], t[:, :, h:, :w], t[:, :, h:, w:], t[:, :, :h, :w]
    return np.concatenate(parts, axis=1)


def bands(size):
    """Orthogonal rows: first those that halving sees, then neighbours' differences of the rest."""

    def nearest_orthonormal(matrix):
        left, _, right = np.linalg.svd(matrix, full_matrices=False)
        return left @ right

    low = nearest_orthonormal(cubic(size, 2))
    differences = np.kron(np.eye(size // 2), [[1.0, -1.0]])
    return np.concatenate([low, nearest_orthonormal(differences @ (np.eye(size) - low.T @ low))])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    pictures = np.load(Path(sys.argv[2]), allow_pickle=False)
    for value in log_prob(Path(sys.argv[1]), pictures["y"], pictures["x"], pictures["noise"]):
        print(f"{value:.6f}")
