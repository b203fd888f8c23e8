"""`python -m cnf export`: a model as ONNX graphs, which run without PyTorch and without `cnf`.

Two graphs: sample (x, eps, temperature -> y, v) and log-prob (x, y, noise -> log_prob). All noise
is an input and has the shape of y. Batch and size are free. The model's own code is traced; it has
no code for exporting. What has no counterpart in ONNX is replaced by the same map in another form:
in a copy of the model, an activation norm and the 1x1 convolution after it become one convolution
with constant weights (`fold_steps`); in the traced graph, single operations (`DECOMPOSED`).
"""

import copy
import json
import math
import shutil
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import cnf
from cnf import resample
from cnf.errors import ConfigError
from cnf.factorised import Entrywise
from cnf.flow import ConditionalFlow
from cnf.layers import (
    ActNorm,
    BinaryDequantization,
    Conv1x1,
    Dequantization,
    Prior,
    Squeeze,
    UniformDequantization,
)
from cnf.layers.base import Bijection, constant
from cnf.model import ConditionalModel
from cnf.nets import CausalNet
from cnf.noise import Given
from cnf.replication import releases, run_folder
from cnf.replication.config import to_dict
from cnf.replication.tasks.task import find_task

OPSET = 20
TOLERANCE = {
    "v": 1e-3,
    "log_prob": 1e-4,
}  # units of v, bits per dimension: how far rounding may lead
REMEDY = 'install it with pip install "conditional-normalizing-flows[export]"'

# -- the same maps, in forms that a graph can hold -------------------------------------------------


class FoldedStep(Bijection):
    """An activation norm and a 1x1 convolution as one, its matrix, inverse and log-determinant
    constants, :eq:`eq-speed-fold`: z = W e^l (y + b)."""

    weight: Tensor
    bias: Tensor
    inverse_weight: Tensor
    inverse_bias: Tensor
    log_abs_det: Tensor

    def __init__(self, conv: Conv1x1, norm: ActNorm | None = None):
        super().__init__()
        dtype, w = conv.weight().dtype, conv.weight().double()
        shift = torch.zeros(len(w), dtype=w.dtype)
        if norm is not None:
            w, shift = w * norm.log_scale.double().exp().flatten(), norm.bias.double().flatten()
        inverse = torch.linalg.inv(w)
        values = {
            "weight": w[:, :, None, None],
            "bias": w @ shift,
            "inverse_weight": inverse[:, :, None, None],
            "inverse_bias": -shift,
            "log_abs_det": torch.linalg.slogdet(w)[1],
        }
        for name, value in values.items():
            self.register_buffer(name, value.to(dtype))

    def forward(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return F.conv2d(y, self.weight, self.bias), self.log_det(y)

    def inverse(self, z: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return F.conv2d(z, self.inverse_weight, self.inverse_bias), -self.log_det(z)

    def log_det(self, y: Tensor) -> Tensor:
        return constant(y, y.shape[-2] * y.shape[-1] * self.log_abs_det)


@torch.no_grad()
def fold_steps(model: ConditionalModel) -> ConditionalModel:
    """A copy of the model with its steps folded: the same map, up to rounding."""
    model = copy.deepcopy(model).eval().requires_grad_(False)
    for holder in list(model.modules()):
        if not isinstance(holder, nn.ModuleList):
            continue
        layers: list[nn.Module] = []
        for layer in holder:
            if isinstance(layer, Conv1x1):
                norm = layers[-1] if layers else None
                if isinstance(norm, ActNorm):
                    layers.pop()
                layer = FoldedStep(layer, norm if isinstance(norm, ActNorm) else None)
            layers.append(layer)
        del holder[:]
        holder.extend(layers)
    return model


def expm1_in_graph(t: Tensor) -> Tensor:
    """e^t - 1 for t <= 0. ONNX has no such operation, and the difference itself would lose the
    digits of a small t; 2 tanh(t/2) / (1 - tanh(t/2)) is the same and keeps them."""
    half = (t / 2).tanh()
    return 2 * half / (1 - half)


def logsigmoid_in_graph(t: Tensor) -> Tensor:
    """log sigmoid(t). ONNX has no such operation, and the sigmoid of onnxruntime ends at t = -18,
    so its logarithm is wrong in the tails."""
    return t.clamp(max=0) - (1 + (-t.abs()).exp()).log()


# operations whose translation to ONNX would lose digits
DECOMPOSED = {
    torch.ops.aten.expm1.default: expm1_in_graph,
    torch.ops.aten.log_sigmoid.default: logsigmoid_in_graph,
}

# -- the two graphs --------------------------------------------------------------------------------


class Sample(nn.Module):
    """(x, eps, temperature) -> (y, v)."""

    def __init__(self, model: ConditionalModel):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, eps: Tensor, temperature: Tensor) -> tuple[Tensor, Tensor]:
        draws = Given(self.parts(temperature * eps))
        v = self.model.sample_given(self.model.condition(x), 1, 1.0, draws)[0]
        return self.model.labels(v), v

    def parts(self, eps: Tensor) -> Iterator[Tensor]:
        """The noise of every prior in the order of drawing: eps passes through the squeezes, and
        each prior takes the channels that leave at it."""
        if not isinstance(self.model, ConditionalFlow):
            return iter([eps])
        noise_by_prior = []
        for layer in self.model.layers:
            if isinstance(layer, Squeeze):
                eps = F.pixel_unshuffle(eps, 2)
            elif isinstance(layer, Prior):
                noise_by_prior.append(layer.latent(eps))
                eps = eps[:, : layer.num_kept] if layer.keeps else eps
        return reversed(noise_by_prior)


class LogProb(nn.Module):
    """(x, y, noise) -> log p(y|x); without noise where the model is exact."""

    def __init__(self, model: ConditionalModel):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, y: Tensor, noise: Tensor | None = None) -> Tensor:
        generator = None if noise is None else Given(iter([noise]))
        return self.model.log_prob(y, x, generator)


def noise_of(model: ConditionalModel) -> str:
    """The distribution of the noise of log-prob; "" where the model is exact."""
    first = model.layers[0] if isinstance(model, ConditionalFlow) else None
    if isinstance(first, UniformDequantization):
        return "uniform on [0, 1)"
    if isinstance(first, BinaryDequantization) and first.noise == "logistic":
        return "standard logistic"
    return "standard normal" if isinstance(first, Dequantization) else ""


def graphs(model: ConditionalModel) -> dict[str, Sample | LogProb]:
    """The graphs of a model by name: both, or log-prob alone for an autoregressive model, whose
    samples are a long chain of steps. Raises ConfigError if it is neither a flow nor a
    baseline."""
    has_config = getattr(model, "config", None) is not None and hasattr(model, "features")
    if not has_config or not isinstance(model, ConditionalFlow | Entrywise):
        raise ConfigError(
            f"a {type(model).__name__} has no graph: export a flow, a baseline or an "
            "autoregressive model that `python -m cnf train` made"
        )
    priors = [m for m in model.modules() if isinstance(m, Prior)]
    if untraceable := [type(p).__name__ for p in priors if not hasattr(p, "net")]:
        raise ConfigError(
            f"a {untraceable[0]} has no graph: it belongs to a control, not to a flow"
        )
    is_autoregressive = any(isinstance(m, CausalNet) for m in model.modules())
    folded_model = fold_steps(model)
    log_prob = LogProb(folded_model).eval()
    if is_autoregressive:
        return {"log-prob": log_prob}
    return {"sample": Sample(folded_model).eval(), "log-prob": log_prob}


def example(graph: Sample | LogProb, batch: int, height: int, width: int) -> dict[str, Tensor]:
    """Inputs of a graph, with a size in units of the model's `multiple`: a smooth y, and the x that
    belongs to it."""
    model, draw = graph.model, torch.Generator().manual_seed(0)
    size = batch, 3, height * model.multiple, width * model.multiple
    waves = torch.randn(batch, 3, 3, 3, generator=draw).mul(60).add(128).clamp(0, 255)
    y = F.interpolate(waves, size[2:], mode="bilinear").round()
    x = resample.imresize_half(y) if model.factor == 2 else y
    task = find_task(model.config.task)
    y = y[:, : task.channels]
    if task.is_binary:
        y = (y > 128).float()
    u = torch.rand(y.shape, generator=draw).clamp(1e-4, 1 - 1e-4)
    normal = torch.randn(y.shape, generator=draw)
    if isinstance(graph, Sample):
        eps = normal if isinstance(model, ConditionalFlow) else u.logit()
        return {"x": x, "eps": eps, "temperature": torch.tensor(0.8)}
    law = noise_of(model)
    noise = {"": None, "standard logistic": u.logit(), "standard normal": normal}.get(law, u)
    return {"x": x, "y": y} | ({} if noise is None else {"noise": noise})


def write(graph: Sample | LogProb, path: Path, metadata_of: dict[str, str]) -> None:
    """Write one graph. Raises ConfigError if the exporter does not know one of its operations."""
    inputs = example(graph, 2, 4, 6)

    def free_dimensions(t: Tensor) -> dict[int, Any]:
        if t.dim() == 0:
            return {}
        unit = t.shape[2] // 4
        sides = [torch.export.Dim(name) for name in ("h", "w")]
        sides = [side * unit if unit > 1 else side for side in sides]
        return {0: torch.export.Dim("batch"), 2: sides[0], 3: sides[1]}

    outputs = ["y", "v"] if isinstance(graph, Sample) else ["log_prob"]
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter, about itself
            shapes = [free_dimensions(t) for t in inputs.values()]
            traced = torch.export.export(
                graph, tuple(inputs.values()), dynamic_shapes=shapes, strict=False
            )
            program = torch.onnx.export(
                traced.run_decompositions(DECOMPOSED),
                dynamo=True,
                optimize=False,  # onnxruntime folds constants when it loads a graph
                verbose=False,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=outputs,
            )
    except RuntimeError as error:  # of either exporter
        raise ConfigError(
            f"this model cannot be exported ({run_folder.first_line(error)})"
        ) from error
    if program is None:
        raise ConfigError("the exporter made nothing of this model: install another version of it")
    fixed_inputs = [
        i.name
        for i in program.model.graph.inputs
        if i.shape is not None and any(type(n) is int for n in i.shape[2:])
    ]
    if fixed_inputs:
        raise ConfigError(
            f"the exporter fixes the size of {fixed_inputs[0]}: this model cannot be exported"
        )
    program.model.metadata_props.update(metadata_of)
    path.write_bytes(compact(program.model_proto).SerializeToString())


def compact(file: Any) -> Any:
    """Make a file smaller without changing values. Weights that float16 holds exactly, such as
    published ones, are stored in float16. `CastLike` becomes `Cast`, which onnxruntime can fold.
    Metadata of nodes, which refer to the exporter's source, are removed."""
    from onnx import helper, numpy_helper

    typed_values = [*file.graph.value_info, *file.graph.input]
    types = {value.name: value.type.tensor_type.elem_type for value in typed_values}
    casts = []
    for weight in file.graph.initializer:
        types[weight.name] = weight.data_type
        values = numpy_helper.to_array(weight)
        if values.dtype == "float32" and values.size > 256:
            half = values.astype("float16")
            if (half == values).all():
                name = weight.name
                weight.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
                casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=1))  # float32
    nodes = [*casts, *file.graph.node]
    for node in nodes:
        del node.metadata_props[:]
        if node.op_type == "CastLike" and node.input[1] in types:
            kind = types[node.input.pop()]
            node.op_type = "Cast"
            node.attribute.append(helper.make_attribute("to", kind))
    del file.graph.node[:]
    file.graph.node.extend(nodes)
    return file


def check(graph: Sample | LogProb, path: Path) -> str:
    """Compare a file under onnxruntime with the model in PyTorch, at two sizes. Returns, as text,
    the largest difference of v in its units, or of log_prob in bits per dimension. Raises
    ConfigError above `TOLERANCE`."""
    import onnxruntime

    session, largest = onnxruntime.InferenceSession(path), 0.0
    name, unit = ("v", "") if isinstance(graph, Sample) else ("log_prob", " bits/dim")
    for batch, height, width in ((1, 3, 5), (3, 8, 4)):
        inputs = example(graph, batch, height, width)
        onnx_output = torch.from_numpy(
            session.run(None, {k: t.numpy() for k, t in inputs.items()})[-1]
        )
        with torch.no_grad():
            torch_output = graph(*inputs.values())
        if name == "v":
            difference = (onnx_output - torch_output[1]).abs().max().item()
        else:
            nats = (onnx_output - torch_output).abs().max().item()
            difference = nats / (inputs["y"][0].numel() * math.log(2))
        if not difference <= TOLERANCE[name]:
            raise ConfigError(f"{path}: {name} differs from PyTorch's by {difference:.1e}")
        largest = max(largest, difference)
    return f"{name} within {largest:.0e}{unit}"


def metadata_of(weights: Path, model: ConditionalModel) -> dict[str, str]:
    """The metadata of a file: its model, and its inputs and outputs."""
    eps = "normal" if isinstance(model, ConditionalFlow) else "logistic"
    return {
        "model": weights.parent.name,
        "weights_sha256": run_folder.file_sha256(weights),
        "config": json.dumps(to_dict(model.config)),
        "cnf": cnf.__version__,
        "multiple": str(model.multiple),
        "factor": str(model.factor),
        "x": "(B, 3, H / factor, W / factor), grey levels 0 to 255; H, W multiples of `multiple`",
        "eps": f"of the shape of y, standard {eps}",
        "noise": f"of the shape of y, {noise_of(model)}" if noise_of(model) else "none",
        "y": "(B, C, H, W), whole numbers: grey levels, or labels 0 and 1",
        "log_prob": f"nats, {'exact' if model.exact else 'a lower bound by one draw of noise'}",
    }


def export(run: str, out: Path) -> list[str]:
    """Write OUT-sample.onnx and OUT-log-prob.onnx, check both, and return a line for each.

    run: as for `cnf.load`. Raises ConfigError, CheckpointError.
    """
    if out.is_dir() or out.suffix != ".onnx":
        raise ConfigError(f"--out {out}: give a file whose name ends in .onnx, such as model.onnx")
    for module in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(module) is None:
            raise ConfigError(f"{module} is missing: {REMEDY}")
    weights = releases.find_weights(run).resolve()
    model, lines = releases.load(weights), []
    parts = graphs(model)
    if "sample" not in parts:
        lines.append("log-prob only: samples of this model are a chain of steps, one a position")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for name, graph in parts.items():
            path = out.with_name(f"{out.stem}-{name}.onnx")
            write(graph, path, metadata_of(weights, model) | {"graph": name})
            size = f"{path.stat().st_size / 1e6:.1f} MB"
            lines.append(f"{path}  opset {OPSET}, {size}, {check(graph, path)}")
    except OSError as error:
        raise ConfigError(f"{out.parent} cannot be written to ({error}): choose another") from error
    return lines


# -- a folder for a model hub ----------------------------------------------------------------------


FILES = {
    releases.WEIGHTS: "the weights; `cnf.load` takes this folder",
    "model-sample.onnx": "x, eps, temperature to y, v: a sample from given noise",
    "model-log-prob.onnx": "x, y, noise to log_prob",
}


def hub(run: str, folder: Path) -> list[str]:
    """Write a folder that can be uploaded as it is: weights, config.json, the graphs, and
    README.md: the model card with the front matter that hubs read."""
    from cnf.replication.cards import card

    weights = releases.find_weights(run).resolve()
    if not (weights.parent / "config.json").exists():
        raise ConfigError(f"{weights.parent} holds no config.json: give a run folder")
    own_names = [*FILES, "config.json", "README.md"]
    if foreign := sorted(path.name for path in folder.glob("[!.]*") if path.name not in own_names):
        raise ConfigError(f"--hub {folder} holds {foreign[0]}: give a folder of its own")
    if folder.resolve() == weights.parent.resolve():
        raise ConfigError(f"--hub {folder} is the run itself: give another folder")
    lines = export(run, folder / "model.onnx")
    for name in (releases.WEIGHTS, "config.json"):
        shutil.copyfile(weights.parent / name, folder / name)
    files = [
        f"- `{name}`: {description}."
        for name, description in FILES.items()
        if (folder / name).exists()
    ]
    note = "Graphs need neither PyTorch nor `cnf`; their metadata say shapes, noise and units."
    text = card.card(weights.parent, for_hub=True).rstrip()
    parts = [text, "", "## Files", "", *files, "", note, ""]
    (folder / "README.md").write_text("\n".join(parts), "utf-8")
    return [
        *lines,
        *(str(folder / name) for name in (releases.WEIGHTS, "config.json", "README.md")),
    ]
