"""Nothing escapes the laws: every public layer, network and kind of model is in a list."""

import inspect
from typing import get_args, get_type_hints

import pytest

import cnf.features
import cnf.layers
from cnf.config import BaselineConfig, FeaturesConfig, FlowConfig
from cnf.layers import Bijection, Dequantization, Prior
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
    public = (getattr(cnf.layers, name) for name in cnf.layers.__all__)
    expected = {c for c in public if inspect.isclass(c) and issubclass(c, kind) and c is not kind}
    assert {type(case.make()[0]) for case in cases} == expected


def test_every_feature_network_is_in_a_model():
    networks = {
        c
        for _, c in inspect.getmembers(cnf.features, inspect.isclass)
        if issubclass(c, cnf.features.Features) and c is not cnf.features.Features
    }
    assert {type(case.build().features) for case in ALL_MODELS} == networks


@pytest.mark.parametrize("config", [FlowConfig, FeaturesConfig, BaselineConfig])
def test_every_choice_of_a_configuration_is_in_a_model(config):
    def parts(case):
        model = case.config.model
        return [part for part in (model, model.features) if isinstance(part, config)]

    used = [part for case in ALL_MODELS if case.config for part in parts(case)]
    for name, hint in get_type_hints(config).items():
        choices = {True, False} if hint is bool else set(get_args(hint)) & {*LITERALS}
        assert {getattr(part, name) for part in used} >= choices, name


LITERALS = {
    *("residual", "rrdb", "unet", "vgg"),
    *("bounded", "softplus", "additive"),
    *("uniform", "variational", "binary"),
    *("logistic", "gaussian", "bernoulli", "weighted", "class_weighted"),
    *("none", "instance"),
    *(1, 3),
}


@pytest.mark.parametrize("case", ALL_LAYERS + ALL_MODELS, ids=str)
def test_no_weight_of_a_case_is_at_its_start(case):
    made = case.make()[0]
    assert all((p.detach() != 0).all() for p in made.parameters())


def test_every_flow_says_whether_it_is_exact():
    assert all(case.build().exact is False for case in ALL_FLOWS)
    assert all(case.build().exact is True for case in ALL_MODELS if case not in ALL_FLOWS)
