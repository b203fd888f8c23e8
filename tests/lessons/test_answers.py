"""Numbers of exercises: those of answers.json are those of the solutions; what `check` says."""

import json
import math
import re
from pathlib import Path

import pytest

from cnf import lessons
from cnf.lessons.answers import decoded, read_answers, said_of

BOOK = Path(__file__).resolve().parents[2] / "book"
PAGES = {
    label: page
    for page in sorted(BOOK.glob("*.md"))
    for label in re.findall(r"^:label: (ex-\S+)$", page.read_text("utf-8"), re.M)
}
IN_WORDS = {0.125: "eighth", 3.0: "three", 1 / 6: "a sixth", 6.0: "six", 2 / 9: r"\tfrac29"}
ROUNDED = 0.006  # 331.7 is written 330
IN_WORDS |= {1e4: "10^4", 1.5e4: r"\tfrac32 V", 2e4: "2V", 230.0: "230", 330.0: "330", 0.2236: "22"}
FORMULAS = {
    "ex-why-edge": ["$(j/8)$"],
    "ex-change-lognormal": [r"\frac{1}{y \sqrt{2\pi}} e^{-(\log y)^2 / 2}"],
    "ex-given-hand": [r"\mu(x) = 0.8\, x"],
    "ex-binary-orthant": [r"\frac14 + \arcsin(\rho) / 2\pi"],
    "ex-fact-threshold": [r"\beta = \tfrac12 \big( 1 + \log_2 (1/t - 1) \big)"],
    "ex-temp-lognormal": [r"mean is $e^{\tau^2 / 2}$", r"mode is $e^{-\tau^2}$"],
    "ex-retina-blind": ["$F = 2r / (1 + r)$"],
    "ex-f-edge": [r"$\log_2 \bigl( K (K+1) / 2 \bigr)$"],
    "ex-f-score": ["$F/2 = J / (1 + J)$", "$F_2 / 5$"],
    "ex-controls-correlation": [r"$-\tfrac12 \log_2 (1 - \rho^2)$"],
}


def solution(label: str) -> str:
    """The text of a solution, and all that its page printed."""
    text = PAGES[label].read_text("utf-8")
    own = re.split(rf"\{{solution(?:-start)?\}} {label}\n", text)[1]
    own = re.split(r"\{solution-end\}|^```\{exercise\}", own, maxsplit=1, flags=re.M)[0]
    twin = json.loads(PAGES[label].with_suffix(".ipynb").read_text("utf-8"))
    for cell in twin["cells"]:
        for output in cell.get("outputs", []):
            own += "".join(output.get("text", []))
    return " ".join(own.split())


@pytest.mark.parametrize("label", read_answers())
def test_the_numbers_are_those_of_the_solution(label):
    text = solution(label)
    for part in read_answers()[label]["parts"]:
        values = decoded(part["values"])
        if "at" in part:
            assert all(formula in text for formula in FORMULAS[label])
            continue
        (v,) = values
        ways = {f"{v:.3f}", f"{v:.2f}", f"{v:.1f}", f"{v:g}", f"{v:.0e}", f"{v:.1e}"}
        ways |= {f"{v:.1%}"}
        ways |= {words for number, words in IN_WORDS.items() if abs(number - v) < ROUNDED * v}
        if not any(re.search(rf"(?<![\d.]){re.escape(way)}(?!\d)", text) for way in ways):
            assert v == pytest.approx(-256 * math.log(4)) and "-256 * math.log(4)" in text, part


@pytest.mark.parametrize("label", read_answers())
def test_the_right_answer_is_right_and_no_other(label):
    for part in read_answers()[label]["parts"]:
        values = decoded(part["values"])
        answer = dict(zip(part["at"], values, strict=True)).get if "at" in part else values[0]
        assert f"right: {part['asks']}." in said_of(label, answer)
        away = (lambda t: 3e7) if "at" in part else 3e7
        assert said_of(label, away).startswith("not yet. Hint: ")


def test_units_and_signs_are_told_apart(capsys):
    lessons.check("ex-why-edge", 0.43)
    assert capsys.readouterr().out.startswith("right: the bits per pixel of the truth. Also asked")
    for answer, words in ((3.0, "all 7 dimensions"), (0.297, "in nats"), (-0.43, "other sign")):
        assert words in said_of("ex-why-edge", answer)
    assert "in bits, not nats" in said_of("ex-norms-hand", 16 * math.log2(6))
    assert said_of("ex-binary-orthant", lambda r: 0.25 + math.asin(r) / (2 * math.pi)).startswith(
        "right: P(11)"
    )
    assert "its logarithm" in said_of(
        "ex-change-lognormal",
        lambda y: -(math.log(y) ** 2) / 2 - math.log(y * (2 * math.pi) ** 0.5),
    )
    assert said_of("ex-why-edge", None).startswith("asked: the bits per pixel of the truth; ")
    for answer in ("a bit", [0.43], lambda: 0.43, lambda j: None):
        assert "is no number: give one" in said_of("ex-why-edge", answer)
    with pytest.raises(ValueError, match="'ex-none': choose from ex-why-edge"):
        lessons.check("ex-none", 1.0)
