"""The stubs that `python -m cnf start` writes, and a file in which all of them are written."""

import doctest
import math
from pathlib import Path

import pytest
import torch

import cnf.lessons.my_flow
from book import my_flow_solution, one_file
from cnf import lessons

STUBS = {name: made for name, made in vars(cnf.lessons.my_flow).items() if isinstance(made, type)}


@pytest.mark.parametrize("name", STUBS)
def test_the_example_of_every_stub_is_that_of_the_solution(name):
    words = vars(my_flow_solution) | {"strokes": lessons.strokes}
    for example in doctest.DocTestFinder(recurse=False).find(STUBS[name], name, globs=words):
        assert example.examples
        assert doctest.DocTestRunner().run(example, out=lambda text: None).failed == 0


@pytest.mark.parametrize("name", STUBS)
def test_every_method_of_a_stub_says_which_lesson_it_is_of(name):
    methods = [made for made in vars(STUBS[name]).values() if callable(made)]
    number = STUBS[name].__doc__.split(".")[0].split(",")[0].lower()
    for method in methods:
        with pytest.raises(NotImplementedError, match=f"^{number}: {name}"):
            method(STUBS[name].__new__(STUBS[name]), *[None] * (method.__code__.co_argcount - 1))


def test_the_solution_is_short_and_has_every_class():
    flow, motion = Path(my_flow_solution.__file__).read_text("utf-8").split("class Motion")
    assert len(flow.rstrip().splitlines()) < 160  # lessons 1 to 9
    assert len(motion.splitlines()) < 40  # lesson 18
    for name in STUBS:
        assert vars(my_flow_solution)[name].__module__ == my_flow_solution.__name__


def test_the_solution_is_the_flow_of_one_file():
    pairs = []
    for module in (my_flow_solution, one_file):
        torch.manual_seed(0)
        flow = module.Flow(steps=2)
        y, x = lessons.kept_strokes(3)
        pairs.append((flow.log_prob(y, x), flow.sample(x)))
    for ours, theirs in zip(*pairs, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_strokes_are_those_of_one_file():
    for ours in (lessons.strokes, one_file.strokes):
        torch.manual_seed(1)
        found = ours(5)
        torch.manual_seed(1)
        for one, other in zip(found, one_file.strokes(5), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("lesson", range(1, 10))
def test_the_classes_of_every_lesson_make_a_model(lesson):
    torch.manual_seed(0)
    model = lessons.flow_so_far(lesson, vars(my_flow_solution), steps=1, num_h=2)
    losses = list(lessons.train(model, steps=2, batch=8))
    drawn = model.sample(lessons.kept_strokes(2)[1])
    assert drawn.shape == (2, 1, 16, 16) and drawn.unique().tolist() in ([0, 1], [0], [1])
    assert math.isfinite(sum(losses)) and math.isfinite(lessons.bits(model, 8))
    assert lessons.bits(model, 8) > 0
