"""What the lessons show of a flow that grows is computed by the files that a reader has."""

import json

import matplotlib.pyplot as plt
import torch

from book import my_flow_solution, one_file_full, so_far
from cnf.lessons import bits


def test_every_lesson_has_a_model_and_bits_fall_where_its_page_says_so():
    kept = json.loads(so_far.FILE.read_text())
    found = {int(k): v["bits"] for k, v in kept.items() if k.isdigit()}
    assert sorted(found) == sorted(so_far.NAMES) == list(range(1, 10))
    assert found[2] > found[3] > found[4] > found[5] > found[1]  # behind independent pixels
    assert abs(found[5] - found[6]) < 0.03  # the same model, other draws
    assert found[7] < found[6] - 0.05 and found[9] == min(found.values())
    assert abs(found[8] - found[1]) < 0.02
    drawings = [kept["truth"], *(kept[str(k)]["draws"] for k in found)]
    assert all(len(row) == so_far.DRAWN for row in drawings)
    assert {len(d) for row in drawings for d in row} == {256}


def test_the_last_number_is_that_of_the_flow_in_one_file():
    torch.manual_seed(0)
    again = bits(one_file_full.load()[0]["flow"], 1024)
    kept = json.loads(so_far.FILE.read_text())["9"]["bits"]
    assert abs(again - kept) < 0.005  # one draw of noise: a deviation of 0.001


def test_yours_and_ours_are_trained_for_the_same_steps_from_the_same_seed(monkeypatch):
    monkeypatch.setattr(plt, "show", lambda: None)
    monkeypatch.syspath_prepend(so_far.FILE.parent)
    so_far.show(4, vars(my_flow_solution), steps=3)
    *pictures, curves = plt.gcf().axes
    assert [panel.get_ylabel() for panel in pictures] == ["true", "ours", "yours"]
    ours, yours = (line.get_xydata() for line in curves.get_lines()[:2])
    plt.close()
    assert ours[:, 0].tolist() == [1, 2, 3] and (ours == yours).all()
