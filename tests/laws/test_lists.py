"""Nothing escapes the laws: every public layer, network and kind of model is in a list."""

import inspect
from typing import Literal, get_args, get_origin, get_type_hints

import pytest

import cnf.features
from cnf.glow import GlowConfig
from cnf.layers import Bijection, Dequantization, Prior
from cnf.replication import models, plugs
from cnf.replication.places import EXPERIMENTS
from cnf.weights import KINDS
from tests.laws.cases import (
    ALL_BIJECTIONS,
    ALL_DEQUANTIZATIONS,
    ALL_FLOWS,
    ALL_LAYERS,
    ALL_MODELS,
    ALL_PRIORS,
)


@pytest.mark.parametrize(
    ("kind", "cases"),
    [(Bijection, ALL_BIJECTIONS), (Prior, ALL_PRIORS), (Dequantization, ALL_DEQUANTIZATIONS)],
    ids=["bijections", "priors", "dequantizations"],
)
def test_every_public_layer_is_in_the_list_of_its_kind(kind, cases):
    public = (getattr(cnf, name) for name in cnf.__all__)
    expected = {c for c in public if inspect.isclass(c) and issubclass(c, kind) and c is not kind}
    assert {type(case.make()[0]) for case in cases} >= expected


def test_every_feature_network_is_in_a_model():
    networks = {
        c
        for _, c in inspect.getmembers(cnf.features, inspect.isclass)
        if issubclass(c, cnf.features.Features) and c is not cnf.features.Features
    }
    assert {type(case.build().features) for case in ALL_MODELS} == networks


def test_every_kind_of_model_is_in_a_case():
    """Controls, which are fitted, transformers, which cannot draw in tiles, continuous flows, which
    a solver inverts, and flows of real vectors have tests of their own."""
    models.load("")
    for path in EXPERIMENTS.glob("*/plug.py"):
        plugs.plug(path.parent.name)
    apart = "controls/", "gaussian_mixtures/", "transformer_flow/", "families/", "vector-flow"
    owned = {kind for kind in KINDS if not kind.startswith(apart)}
    assert {case.config.model["kind"] for case in ALL_MODELS if case.config} >= owned


def test_every_choice_of_the_flow_is_in_a_case():
    used = [case.build().arguments or {} for case in ALL_FLOWS]
    for name, hint in get_type_hints(GlowConfig).items():
        choices = {True, False} if hint is bool else set()
        if get_origin(hint) is Literal:
            choices = set(get_args(hint))
        assert {model.get(name) for model in used} >= choices, name


@pytest.mark.parametrize("case", ALL_LAYERS + ALL_MODELS, ids=str)
def test_no_weight_of_a_case_is_at_its_start(case):
    made = case.make()[0]
    assert all((p.detach() != 0).all() for p in made.parameters())


def test_every_flow_says_whether_it_is_exact():
    assert all(case.build().exact is False for case in ALL_FLOWS)
    assert all(case.build().exact is True for case in ALL_MODELS if case not in ALL_FLOWS)
