"""What the widgets show of trained models is theirs."""

import numpy as np

from tools import widgets


def test_the_vessels_are_those_that_the_models_of_results_draw():
    kept, made = (
        widgets.read_widget("vessels"),
        widgets.vessels(which=[2]),
    )  # one draw: it takes seconds
    for model in kept["models"]:
        model["draws"], model["pieces"] = model["draws"][2:3], model["pieces"][2:3]
    assert kept == made, "run python -m tools.widgets vessels"


def test_the_strokes_are_those_that_the_models_of_lesson_9_draw():
    assert widgets.read_widget("strokes") == widgets.strokes(), (
        "run python -m tools.widgets strokes"
    )


def test_the_flow_to_step_through_has_the_weights_of_lesson_9():
    kept = (widgets.STATIC / "layers/strokes.mjs").read_text("utf-8")
    assert kept.split("\n", 1)[1] == widgets.layers(), "run python -m tools.widgets layers"


def test_the_squares_to_step_through_are_those_of_the_eyes_of_the_live_page():
    kept = (widgets.STATIC / "layers/eyes.mjs").read_text("utf-8")
    assert kept.split("\n", 1)[1] == widgets.eyes(), "run python -m tools.widgets eyes"


def test_pieces_are_counted_from_the_draws():
    for name in ("strokes", "vessels"):
        kept = widgets.read_widget(name)
        for model in kept["models"]:
            masks = [widgets.from_hex(t, kept["height"], kept["width"]) for t in model["draws"]]
            assert len(masks) == widgets.COUNT and np.ptp(np.stack(masks), 0).any()
            assert [*map(widgets.pieces, masks)] == model["pieces"]
