"""The lessons of the spine keep their form: short, a figure first, three exercises each.

A lesson is read from top to bottom: its words, equations and lines of code are those that a reader
sees without unfolding anything. Captions, hints and solutions do not count.
"""

import re

import pytest
import yaml

from tools import notebooks

BOOK = notebooks.ROOT / "book"
WORDS, EQUATIONS, LINES, EXERCISES, ITEMS = 1800, 8, 100, 3, 3
SPINE = [
    "01-why-likelihoods",
    "02-change-of-variables",
    "03-coupling-layers",
    "04-multi-scale",
    "05-conditioning",
    "06-dequantization",
    "07-binary-targets",
    "08-factorised-models",
    "09-one-file",
]

HEAD = re.compile(r"\A---\n.*?\n---\n", re.S)
FENCE = r"^(?P<fence>`{3,}|:{3,})"
CELL = re.compile(FENCE + r"\{code-cell\}[^\n]*\n(?P<body>.*?)^(?P=fence)$", re.M | re.S)
OPTIONS = re.compile(r"\A(?:---\n.*?\n---\n|(?::[^\n]*\n)+)", re.S)
FOLDED = re.compile(r"^(?::tags:|tags:).*(?:hide|remove)-(?:input|cell)", re.M)
DRAWN = re.compile(
    r"^  figure:|^:{3,}\{(?:raw|figure|image)\}|^`{3,}\{(?:raw|figure|image)\}", re.M
)
SOLVED = re.compile(
    r"^`{3,}\{solution-start\} (?P<a>\S+)\n.*?^`{3,}\{solution-end\}\n`{3,}$"
    r"|^(?P<b>`{3,})\{solution\} (?P<c>\S+)\n.*?^(?P=b)$",
    re.M | re.S,
)
HINT = r"```\{dropdown\} Hint\n.+?\n```\n"
EXERCISE = re.compile(
    r"^```\{exercise\}(?P<title>[^\n]*)\n:label: (?P<label>\S+)\n.*?^```\n", re.M | re.S
)
ANSWERED = re.compile(
    rf"\n{HINT}\n```\{{solution(?:-start)?\}} (?P<label>\S+)\n:class: dropdown\n", re.S
)
MARK = re.compile(r" · (?:easy|medium|hard), \d+ minutes$")
TITLE = re.compile(
    r"^# [^\n]+\n\n```\{admonition\} In short\n:class: in-short\n(?P<body>.*?)^```$", re.M | re.S
)


def part(number):
    """The pages of a part by the table of contents, in order."""
    toc = yaml.safe_load((BOOK / "_toc.yml").read_text("utf-8"))
    (found,) = (p for p in toc["parts"] if p["caption"].startswith(f"{number}. "))
    return [chapter["file"].removesuffix(".ipynb") for chapter in found["chapters"]]


def words(text):
    """Words of running text: no cells, formulas, options of directives, or what is folded."""
    text = re.sub(rf"^{HINT}", "", SOLVED.sub("", text), flags=re.M | re.S)
    text = re.sub(FENCE + r"\{raw\}.*?^(?P=fence)$", "", CELL.sub("", text), flags=re.M | re.S)
    text = re.sub(
        r"\$\$.*?\$\$(?: \(eq-[\w-]+\))?|^:\w+:[^\n]*$|^\([\w-]+\)=$", "", text, flags=re.M | re.S
    )
    text = re.sub(r"^[`:]{3,}(?:\{[\w-]+\})?", "", text, flags=re.M)  # a title of a box is read
    return len(re.findall(r"\S*[^\W_]\S*", re.sub(r"\$[^$]*\$|`[^`]*`", "x", text)))


def lines(text):
    """Lines of code that a reader sees."""
    bodies = [cell["body"] for cell in CELL.finditer(SOLVED.sub("", text))]
    shown = [OPTIONS.sub("", body) for body in bodies if not FOLDED.search(body)]
    return sum(bool(line.strip()) for body in shown for line in body.splitlines())


def problems(text):
    """What a lesson does not keep to, one sentence each."""
    text = HEAD.sub("", text)
    equations = SOLVED.sub("", text).count("$$") // 2
    counts = (("words", words(text), WORDS), ("equations", equations, EQUATIONS))
    for name, found, limit in (*counts, ("visible lines of code", lines(text), LINES)):
        if found > limit:
            yield f"{found} {name}, the limit is {limit}"
    short = TITLE.search(text)
    if not short or len(re.findall(r"^- ", short["body"], re.M)) != ITEMS:
        yield f"no box `In short` of {ITEMS} lines under the title"
    figure = DRAWN.search(text)
    if not figure or figure.start() > (text.find("$$") if "$$" in text else len(text)):
        yield "no figure before the first equation"
    exercises = list(EXERCISE.finditer(text))
    if len(exercises) != EXERCISES or text.count("{exercise}") != EXERCISES:
        yield f"{text.count('{exercise}')} exercises, not {EXERCISES}"
    for exercise in exercises:
        if not MARK.search(exercise["title"]):
            yield f"{exercise['label']}: no difficulty and minutes at the end of its title"
        answer = ANSWERED.match(text, exercise.end())
        if not answer or answer["label"] != exercise["label"]:
            yield f"{exercise['label']}: no folded hint with a folded solution under it"
    if not any("{code-cell}" in solution[0] for solution in SOLVED.finditer(text)):
        yield "no solution is checked by code"


def exercise(number, title=" · easy, 5 minutes"):
    return f"""
```{{exercise}} Number {number}{title}
:label: ex-{number}

Find it.
```

```{{dropdown}} Hint
Look there.
```

```{{solution-start}} ex-{number}
:class: dropdown
```

$$
x
$$

```{{code-cell}} ipython3
assert True
```

```{{solution-end}}
```
"""


SOUND = f"""---
kernelspec: python
---

(ch-one)=
# One thing

```{{admonition}} In short
:class: in-short
- One.
- Two.
- Three.
```

Three words {{ref}}`ch-two`.

```{{code-cell}} ipython3
:tags: [hide-input]

hidden = 1
```

```{{code-cell}} ipython3
---
mystnb:
  figure:
    name: fig-one
    caption: |
      A caption does not count.
tags: [hide-input]
---
plot()
```

$$
a = b
$$ (eq-one)

```{{code-cell}} ipython3
a = 1

b = 2
```
{exercise("a")}{exercise("b")}{exercise("c")}"""
FIGURE = SOUND[SOUND.index("```{code-cell} ipython3\n---") : SOUND.index("$$\na")]


def test_what_is_counted_is_what_one_sees():
    # the title, the box and its items, a line with a link, and each exercise: five words of its
    # title and two of its text
    assert words(HEAD.sub("", SOUND)) == 2 + 2 + 3 + 3 + 3 * 7
    assert lines(SOUND) == 2
    assert list(problems(SOUND)) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("Three words", "word " * WORDS, "words, the limit"),
        ("\na = 1\n", "\na = 1\n" * (LINES + 1), "visible lines of code, the limit"),
        (FIGURE, FIGURE + "$$\nx\n$$\n\n" * EQUATIONS, "9 equations, the limit"),
        ("- Three.\n", "", "no box `In short`"),
        ("# One thing\n", "# One thing\n\nFirst.\n", "no box `In short`"),
        (FIGURE, "", "no figure before the first equation"),
        (FIGURE, "$$\nx\n$$\n\n" + FIGURE, "no figure before the first equation"),
        (exercise("c"), "", "2 exercises, not 3"),
        (exercise("c"), exercise("c") + exercise("d"), "4 exercises, not 3"),
        (exercise("b"), exercise("b", ""), "ex-b: no difficulty"),
        (exercise("b"), exercise("b", " · easy"), "ex-b: no difficulty"),
        ("{dropdown} Hint", "{note}", "ex-a: no folded hint"),
        ("solution-start} ex-b\n:class: dropdown", "solution-start} ex-b", "ex-b: no folded hint"),
        ("assert True", "assert True\n```\n\n```{code-cell}", None),
        ("```{code-cell} ipython3\nassert True\n```\n", "", "no solution is checked by code"),
    ],
)
def test_a_lesson_that_does_not_keep_a_rule_is_told_so(old, new, said):
    assert old in SOUND
    found = list(problems(SOUND.replace(old, new)))
    assert any(said in problem for problem in found) if said else not found, found


def test_the_lessons_are_parts_one_and_two():
    assert part("I") == SPINE[:4] and part("II") == SPINE[4:]


@pytest.mark.parametrize("name", SPINE)
def test_a_lesson_keeps_its_form(name):
    assert list(problems((BOOK / f"{name}.md").read_text("utf-8"))) == []
