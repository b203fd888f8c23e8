"""The model card: what a user asks first, and what the ledger says against the model."""

import itertools
import re

import pytest

from cnf.config import load_config
from cnf.replication import publishing
from cnf.replication import results as ledger
from tests.results.rows import GOOD

SR = load_config("sr", "flow", "smoke")
COMMON = GOOD | {
    "run": "sr-flow-x",
    "standard_error": 0.1,
    "num_images": 5,
    "bound": None,
    "divided_by": None,
    "draws": None,
    "rounded_x": True,
    "data": "set5",
    "stand_in": False,
    "paper": None,
}
NUMBER = itertools.count()


def row(metric, value, **changes):
    values = COMMON | {"id": f"r{next(NUMBER)}", "metric": metric, "value": value}
    values["unit"] = ledger.METRICS[metric].unit
    if metric == "bits_per_dim":
        values |= {"bound": "uniform dequantization", "divided_by": "sub-pixels", "draws": 1}
    if changes.get("model") in ledger.REFERENCES:
        values |= {"weights_sha256": None, "run": changes["model"]}
    return ledger.make_row(values | changes)


def failures(*rows, config=SR):
    mine = [r for r in rows if r.run == "sr-flow-x"]
    return " ".join(publishing._failures(mine, rows, config))


def test_a_set_is_a_line_and_empty_columns_fall_away():
    rows = [
        row("bits_per_dim", 2.5, rounded_x=False, data="tiny", stand_in=True, num_images=2000),
        row("bits_per_dim", 2.7, data="tiny", stand_in=True, num_images=2000),
        row("bits_per_dim", 2.4, data="tiny", bound="importance, 64 samples", draws=64),
        row("psnr", 36.1, protocol="standard", temperature=1.0),
        row("psnr", 35.9, protocol="released", rounded_x=False, temperature=1.0),
        row("psnr_sample", 33.0, protocol="standard", temperature=0.8),
        row("psnr_sample", 32.0, protocol="standard", temperature=1.0),
        row("power_low", 1.0),
        row("bits_per_dim", 3.0, data="odd-text", rounded_x=False),
    ]
    table, _, how, _, more = publishing._scores(rows, "sr")
    assert table.splitlines() == [
        "| pictures | number | bits/dim given x not rounded | given x of 8 bits | "
        "PSNR of the mean | PSNR of a sample |",
        "| --- | --- | --- | --- | --- | --- |",
        "| tiny test (stand-in) | 2000 | ≤ 2.500 ± 0.100 | ≤ 2.700 ± 0.100 |  |  |",
        "| set5 test | 5 |  |  | 36.10 ± 0.10 | 33.00 ± 0.10 |",
    ]
    assert "standard protocol" in how and "9 rows in all: `python -m cnf results table" in more


def test_a_number_of_fewer_pictures_says_so():
    rows = [
        row("bits_per_dim", 2.5, rounded_x=False, num_images=100),
        row("coverage_90", 0.8, temperature=1.0, num_images=10),
    ]
    assert "0.800 ± 0.100 (of 10)" in publishing._scores(rows, "sr")[0]


def test_what_rounding_costs_is_told():
    pair = (row("bits_per_dim", 2.5, rounded_x=False), row("bits_per_dim", 2.75))
    assert "it needs 0.25 bits/dim more on set5" in failures(*pair)
    assert failures(pair[0]) == failures(pair[1]) == ""


def test_samples_below_bicubic_and_a_mean_below_the_baseline_are_told():
    kind = {"protocol": "standard", "temperature": 1.0}
    mine = [row("psnr_sample", 33.0, **kind | {"temperature": 0.8}), row("psnr", 36.0, **kind)]
    bicubic = row("psnr", 33.69, model="bicubic", **kind)
    baseline = row("psnr", 37.0, run="sr-baseline-x", model="logistic", **kind)
    said = failures(*mine, bicubic, baseline)
    assert "has 33.00 dB, plain bicubic interpolation 33.69 dB" in said
    assert "the mean of samples has 36.00 dB, that of the factorised model 37.00 dB" in said
    better = [row("psnr_sample", 34.0, **kind | {"temperature": 0.8}), mine[1]]
    assert "bicubic" not in failures(*better, bicubic, baseline)
    # another x, or other pictures: no comparison
    other = {"protocol": "released", "rounded_x": False, "temperature": 1.0}
    assert failures(*mine, row("psnr", 33.69, model="bicubic", **other)) == ""
    assert failures(*mine, row("psnr", 33.69, model="bicubic", **kind, num_images=4)) == ""


@pytest.mark.parametrize("value, word", [(0.8, "narrow"), (0.95, "wide"), (0.905, None)])
def test_intervals_that_hold_too_little_or_too_much_are_told(value, word):
    said = failures(row("coverage_90", value, temperature=1.0))
    assert (f"too {word}" in said) if word else said == ""


def test_unfamiliar_pictures_are_told_with_what_few_bits_do_not_mean():
    rows = [
        row("bits_per_dim", bits, data=data, rounded_x=False)
        for data, bits in {"tiny": 2.5, "odd-text": 3.25, "odd-blur": 1.0}.items()
    ]
    said = failures(*rows)
    assert "needs 3.25 on text, 1.00 on blur bits/dim, against 2.50 on tiny" in said
    assert "a familiar picture (blur)" in said
    assert "familiar" not in failures(*rows[:2])


def test_samples_that_leave_the_range_or_are_not_finite_are_told():
    far = {"data": "far-sr", "samples": 335, "temperature": 1.0, "rounded_x": False}
    said = failures(row("outside_range", 0.22, **far), row("nonfinite_samples", 3.0, **far))
    assert "far from all data 22 %" in said and "On far-sr: 3 samples that are not finite" in said
    assert failures(row("outside_range", 0.0001, **far), row("nonfinite_samples", 0.0, **far)) == ""


def test_vessels_that_agree_less_than_a_second_observer_are_told():
    config = load_config("vessels", "flow", "smoke")
    kind = {"experiment": "vessels", "rounded_x": None, "data": "drive"}
    human = row("f_half", 0.79, model="second observer", **kind)
    assert "F 0.770 against 0.790" in failures(row("f_sample", 0.77, **kind), human, config=config)
    assert failures(row("f_sample", 0.8, **kind), human, config=config) == ""


VESSELS = {"experiment": "vessels", "rounded_x": None, "data": "drive", "samples": 64}


@pytest.mark.parametrize(
    "metric, bad, good, said",
    [
        ("components_ratio_sample", 2.4, 1.2, "one sample has 2.4 times the pieces of the truth"),
        ("calibration_error", 0.051, 0.01, "between 0.05 and 0.95 are off by 0.051"),
        ("area_ratio", 1.12, 1.03, "Samples mark 12 % more than the first observer"),
        ("area_ratio", 0.9, 0.97, "Samples mark 10 % less than the first observer"),
        ("area_coverage", 0.35, 0.85, "90 % intervals of vessel area hold that of the first"),
        ("components_coverage", 0.0, 0.9, "intervals of the number of pieces hold .* in 0 % of"),
    ],
)
def test_what_joint_statements_of_vessels_get_wrong_is_told(metric, bad, good, said):
    config = load_config("vessels", "flow", "smoke")
    assert re.search(said, failures(row(metric, bad, **VESSELS), config=config))
    assert failures(row(metric, good, **VESSELS), config=config) == ""
    assert failures(row(metric, bad, **VESSELS | {"data": "odd-blurred"}), config=config) == ""


def test_a_flow_of_less_f_than_its_baseline_says_so():
    config = load_config("vessels", "flow", "smoke")
    mine = row("f_half", 0.822, **VESSELS)
    other = {"run": "sr-baseline-x", "model": "bernoulli"}
    said = failures(mine, row("f_half", 0.826, **VESSELS, **other), config=config)
    assert "its marginals have 0.822 at 0.5, those of the factorised model 0.826" in said
    assert failures(mine, row("f_half", 0.82, **VESSELS, **other), config=config) == ""
    fewer = VESSELS | {"num_images": 4}
    assert failures(mine, row("f_half", 0.83, **fewer, **other), config=config) == ""


def test_vessels_get_a_column_for_every_question_that_was_asked():
    rows = [
        row("f_half", 0.822, **VESSELS),
        row("calibration_error", 0.0123, **VESSELS),
        row("components_ratio_sample", 1.5, **VESSELS),
        row("area_coverage", 0.85, **VESSELS),
        row("calibration_error", 0.2, **VESSELS | {"data": "odd-blurred"}),
    ]
    table = publishing._scores(rows, "vessels")[0].splitlines()
    assert table[0] == (
        "| pictures | number | F of the marginals at 0.5 | calibration error | "
        "pieces of a sample over the truth's | 90 % intervals of area hold |"
    )
    assert len(table) == 3 and "0.0123 ± 0.1" in table[2]


def test_a_card_for_vessels_says_how_to_draw_from_it():
    said = " ".join(publishing._use("mine", load_config("vessels", "flow", "smoke")))
    assert "sample mine EYE.png --num 16`" in said and "`model.multiple`." in said
    assert "--uncertainty`" in " ".join(publishing._use("mine", SR))


def test_a_card_says_what_the_run_began_with_and_what_was_added():
    config = load_config("sr", "flow", "smoke", ["data.noise=0.1"])
    said = " ".join(publishing._saw(config, {"start": {"run": "first", "weights_sha256": "a"}}))
    assert "began with the weights of `first`" in said and "To 10 % of the pictures noise" in said
    said = " ".join(publishing._saw(SR, {}))
    assert "began" not in said and "noise" not in said


def test_a_card_says_which_names_mean_the_run():
    assert 'The name "vessels" means it.' in " ".join(publishing._use("vessels-flow-cpu-s0", SR))
    assert "where `sr-flow-cpu-s0` is not" in " ".join(publishing._use("sr-flow-photos-s0", SR))
    assert not any("The name" in line for line in publishing._use("mine", SR))
