"""`python -m cnf check` on right files, on files with one mistake, and on none."""

import types
from pathlib import Path

import pytest
import torch
from torch import nn

from book import my_flow_solution
from cnf import lessons
from cnf.__main__ import main
from cnf.lessons import pieces
from cnf.lessons.verdicts import PIECES, text, verdict, verdicts
from cnf.testing import randomise
from tests.lessons.my_flow_mistakes import PLANTED

SOLUTION = Path(my_flow_solution.__file__).read_text("utf-8")
MANY = [(name, *row) for name, rows in PLANTED.items() for row in rows]


def with_change(name: str, old: str, new: str) -> dict:
    """The names of the solution with another text in one class."""
    start = SOLUTION.index(f"class {name}(")
    end = SOLUTION.find("\nclass ", start) % (len(SOLUTION) + 1)
    own = SOLUTION[start:end]
    assert old in own, f"{name} has no {old!r}"
    changed = SOLUTION[:start] + own.replace(old, new, 1) + SOLUTION[end:]
    module = types.ModuleType("my_flow")
    exec(compile(changed, "my_flow.py", "exec"), vars(module))
    return vars(module)


def of(name: str):
    return next(piece for piece in PIECES if piece.name == name)


@pytest.mark.parametrize("name", PLANTED)
def test_every_mistake_is_found_and_named(name):
    for words, old, new in PLANTED[name]:
        found = verdict(of(name), with_change(name, old, new))
        assert found.status == "wrong", f"{name} is said to be right with {new!r}"
        assert words in found.likely, f"{name} with {new!r}: {found}"


def test_enough_mistakes_are_planted_and_named():
    assert len(MANY) >= 60 and sum(bool(words) for _, words, _, _ in MANY) >= 40


def test_the_solution_is_right():
    found = verdicts(vars(my_flow_solution))
    assert text(found).endswith("\nall is right: train your Flow")
    assert len(found) == 11 and {v.status for v in found} == {"right"}


VARIANTS = {
    "zeros for those that pass": (
        "Coupling",
        [("return torch.cat([y_a, y_b * log_s.exp() + t], 1), log_s.flatten(1).sum(1)",
          "off = torch.zeros_like(y_a)\n        s = torch.cat([off, log_s], 1)\n"
          "        return y * s.exp() + torch.cat([off, t], 1), s.sum((1, 2, 3))")],
    ),
    "two networks": (
        "Coupling",
        [("network(num_a + num_h, 2 * num_b)",
          "network(num_a + num_h, num_b)\n        self.shift = network(num_a + num_h, num_b)"),
         ("raw, t = self.net(torch.cat([y_a, h], 1)).chunk(2, 1)",
          "both = torch.cat([y_a, h], 1)\n        raw, t = self.net(both), self.shift(both)")],
    ),
    "P L U": (
        "Conv1x1",
        [("self.W = nn.Parameter(torch.linalg.qr(torch.randn(channels, channels))[0])",
          "q = torch.linalg.qr(torch.randn(channels, channels))[0]\n"
          "        p, l, u = torch.linalg.lu(q)\n        self.register_buffer('p', p)\n"
          "        self.l, self.u = nn.Parameter(l), nn.Parameter(u)\n\n"
          "    @property\n    def W(self):\n"
          "        lower = self.l.tril(-1) + torch.eye(len(self.p)).to(self.l)\n"
          "        return self.p @ lower @ self.u.triu()")],
    ),
    "a softplus for sigma": (
        "Prior",
        [("    def forward(self, y, h):\n        y_a, y_b, log_sigma",
          "    def parts(self, y, h):\n"
          "        y_a, y_b = y[:, : self.num_a], y[:, self.num_a :]\n"
          "        raw, mu = self.net(torch.cat([y_a, h], 1)).chunk(2, 1)\n"
          "        return y_a, y_b, (F.softplus(raw) + 0.01).log(), mu\n\n"
          "    def forward(self, y, h):\n        y_a, y_b, log_sigma")],
    ),
    "the other half passes": (
        "Coupling",
        [
            ("y_a, y_b = y[:, : self.num_a], y[:, self.num_a :]",
             "y_b, y_a = y[:, : -self.num_a], y[:, -self.num_a :]"),
            ("torch.cat([y_a, y_b * log_s.exp() + t], 1)",
             "torch.cat([y_b * log_s.exp() + t, y_a], 1)"),
            ("torch.cat([z_a, (z_b - t) * (-log_s).exp()], 1)",
             "torch.cat([(z_b - t) * (-log_s).exp(), z_a], 1)"),
        ],
    ),
    "additive": ("Coupling", [("self.m * torch.tanh(raw / self.m)", "0 * raw")]),
    "softplus": (
        "Coupling",
        [("self.m * torch.tanh(raw / self.m)", "(F.softplus(raw) + 1e-3).log()")],
    ),
    "the scale is a sigmoid": (
        "Coupling",
        [("self.m * torch.tanh(raw / self.m)", "F.logsigmoid(raw + 2)")],
    ),
    "shifted first": (
        "Coupling",
        [("y_b * log_s.exp() + t", "(y_b + t) * log_s.exp()"),
         ("(z_b - t) * (-log_s).exp()", "z_b * (-log_s).exp() - t")],
    ),
    "biased variance": (
        "ActNorm",
        [("torch.std_mean(y.detach(), (0, 2, 3), keepdim=True)",
          "torch.std_mean(y.detach(), (0, 2, 3), correction=0, keepdim=True)")],
    ),
    "channels in another order": (
        "Squeeze",
        [("F.pixel_unshuffle(y, 2)", "F.pixel_unshuffle(y, 2).flip(1)"),
         ("F.pixel_shuffle(z, 2)", "F.pixel_shuffle(z.flip(1), 2)")],
    ),
    "a term of one number": ("Squeeze", [("y.new_zeros(len(y))", "0")]),
    "Gaussian noise": (
        "BinaryDequantization",
        [("eps = torch.rand_like(y).logit(eps=1e-6)", "eps = torch.randn_like(y)"),
         ("F.logsigmoid(eps) + F.logsigmoid(-eps)", "-eps.square() / 2 - 0.9189385332046727")],
    ),
    "the last channels are kept": (
        "Prior",
        [("y_a, y_b, log_sigma, mu = self.parts(y, h)",
          "y_a, y_b, log_sigma, mu = self.parts(y.flip(1), h)"),
         ("return torch.cat([y_a, mu", "return torch.cat([y_a, mu"),
         ("torch.randn_like(mu)], 1)", "torch.randn_like(mu)], 1).flip(1)")],
    ),
    "without a logsigmoid": (
        "PerPixel",
        [("F.logsigmoid((2 * y - 1) * self.logits(x))",
          "-F.binary_cross_entropy_with_logits(self.logits(x), y, reduction='none')")],
    ),
    "no convolutions": (
        "PerPixel",
        [("network(1, 16)",
          "nn.Sequential(nn.Flatten(), nn.Linear(16, 40), nn.ReLU(), nn.Linear(40, 256))"),
         ("F.pixel_shuffle(self.net(x), 4)", "self.net(x).view(-1, 1, 16, 16)")],
    ),
    "squeezed without a layer": (
        "Flow",
        [("self.layers.append(Squeeze())", "self.layers.append(nn.PixelUnshuffle(2))"),
         ("y, term = layer(y, h[y.shape[-1]])",
          "is_squeeze = isinstance(layer, nn.PixelUnshuffle)\n            "
          "y, term = (layer(y), 0) if is_squeeze else layer(y, h[y.shape[-1]])"),
         ("y = layer.back(y, h[y.shape[-1]], tau)",
          "is_squeeze = isinstance(layer, nn.PixelUnshuffle)\n            "
          "y = F.pixel_shuffle(y, 2) if is_squeeze else layer.back(y, h[y.shape[-1]], tau)")],
    ),
    "the transpose has the same trace": (
        "Motion",
        [("u, Je = torch.func.jvp(lambda v: self.u(v, t, h), (v,), (e,))",
          "u, back = torch.func.vjp(lambda v: self.u(v, t, h), v)\n            (Je,) = back(e)")],
    ),
    "the exact trace": (
        "Motion",
        [("u, Je = torch.func.jvp(lambda v: self.u(v, t, h), (v,), (e,))\n"
          "            return u, (e * Je).sum(1)",
          "def of(k):\n"
          "                unit = torch.eye(self.D).to(v)[k].expand_as(v).contiguous()\n"
          "                _, Je = torch.func.jvp(lambda v: self.u(v, t, h), (v,), (unit,))\n"
          "                return Je[:, k]\n\n"
          "            return self.u(v, t, h), sum(of(k) for k in range(self.D))")],
    ),
    "Gaussian probes": ("Motion", [("torch.randn_like(v).sign()", "torch.randn_like(v)")]),
    "the midpoint rule": (
        "Motion",
        [("v = v + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)\n"
          "            total = total + dt / 6 * (r1 + 2 * r2 + 2 * r3 + r4)",
          "v, total = v + dt * k2, total + dt * r2")],
    ),
    "late times oftener": (
        "Motion", [("torch.rand(len(v)).to(v)", "torch.rand(len(v)).sqrt().to(v)")]
    ),
    "the bound has another name": (
        "Coupling",
        [("num_h, m=1.5):", "num_h, bound=1.5):\n        m = bound")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", VARIANTS)
def test_right_variants_are_right(kind):
    name, changes = VARIANTS[kind]
    source = SOLUTION
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    module = types.ModuleType("my_flow")
    exec(compile(source, "my_flow.py", "exec"), vars(module))
    assert str(verdict(of(name), vars(module))).startswith("✓")


def test_the_verdict_does_not_depend_on_the_default_type():
    torch.set_default_dtype(torch.float64)
    try:
        assert {v.status for v in verdicts(vars(my_flow_solution), 5)} == {"right"}
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_class_says_what_is_missing_of_it():
    line = "return z * (-self.l).exp() - self.b"
    change = line, 'raise NotImplementedError("lesson 2: ActNorm.back")'
    names = with_change("ActNorm", *change)
    assert str(verdict(of("ActNorm"), names)) == "· ActNorm (lesson 2): to write: back"
    half = SOLUTION.replace(*change).replace("(y[0, 0].numel() * self.l.sum())", "self.l.sum()")
    module = types.ModuleType("my_flow")
    exec(compile(half, "my_flow.py", "exec"), vars(module))
    assert "H W = 28 is missing" in verdict(of("ActNorm"), vars(module)).likely


def test_weights_of_no_channels_are_moved():
    """A fan-in of 0 divides nothing."""
    module = nn.Linear(0, 3)
    randomise(module)
    assert module.bias.abs().min() > 0
    with pytest.raises(ValueError, match="of 0 channels sees nothing: num_a"):
        my_flow_solution.Prior(0, 2, 0)


def test_start_and_check_as_a_student(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["start"]) == 0
    assert main(["start"]) == 2 and "nothing is overwritten" in capsys.readouterr().err
    assert main(["start", "nowhere/my_flow.py"]) == 2
    assert "nowhere/my_flow.py cannot be written (No such file" in capsys.readouterr().err
    assert main(["check", "notes.txt"]) == 2 and "give FILE.py" in capsys.readouterr().err
    assert main(["check"]) == 0
    assert 'next: write PerPixel, lesson 1, "A loss' in capsys.readouterr().out
    Path("right.py").write_text(SOLUTION, "utf-8")
    assert main(["check", "right.py", "--lesson", "4"]) == 0
    assert capsys.readouterr().out == "✓ Conv1x1 (lesson 4)\n✓ Squeeze (lesson 4)\nall is right\n"
    Path("wrong.py").write_text(SOLUTION.replace("-log_q.expand", "log_q.expand"), "utf-8")
    assert main(["check", "wrong.py", "--lesson", "6"]) == 1
    said = capsys.readouterr().out
    assert "likely: its sign is wrong" in said and "next: mend UniformDequantization" in said
    assert main(["check", "none.py"]) == 2
    assert "python -m cnf start none.py" in capsys.readouterr().err
    Path("broken.py").write_text("import torch\nx = torch.nothing\n", "utf-8")
    assert main(["check", "broken.py"]) == 2
    assert "broken.py:2" in capsys.readouterr().err
    Path("leaves.py").write_text("import sys\nsys.exit()\n", "utf-8")
    assert main(["check", "leaves.py"]) == 2
    assert "SystemExit" in capsys.readouterr().err
    leaves = "class Squeeze(torch.nn.Module):\n    def __init__(self):\n        raise SystemExit"
    exits = SOLUTION.replace("class Squeeze", f"{leaves}(0)\n\n\nclass Other", 1)
    Path("exits.py").write_text(exits, "utf-8")
    assert main(["check", "exits.py", "--lesson", "4"]) == 1


def test_a_lesson_is_checked_in_a_notebook(capsys):
    lessons.check_lesson(2, {"ActNorm": my_flow_solution.ActNorm})
    assert capsys.readouterr().out == "✓ ActNorm (lesson 2)\nall is right\n"
    lessons.check_lesson(3, {})
    assert "there is no such class yet" in capsys.readouterr().out
    with pytest.raises(TypeError, match="a module: give vars"):
        lessons.check_lesson(3, my_flow_solution)
    with pytest.raises(ValueError, match="lesson = '3': choose from 1 to 9, or 18"):
        lessons.check_lesson("3", {})


def test_sections_that_are_named_are_in_the_pages():
    for piece in PIECES:
        page = Path(my_flow_solution.__file__).with_name(f"{piece.page}.md").read_text("utf-8")
        assert f"\n## {piece.section}\n" in page


def test_without_pages_the_text_of_a_section_stands_in_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "BOOK", tmp_path)
    for piece in PIECES:
        assert piece.where.endswith(piece.says) and "book/" not in piece.where
