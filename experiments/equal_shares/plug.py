"""A model that computes its own marginals, seen through samples alone, as a flow is."""

import copy

from cnf.errors import ConfigError
from cnf.flow import ConditionalModel
from cnf.replication.scored.variants import variant


@variant("equal_shares/sampled")
def sampled(model: ConditionalModel) -> ConditionalModel:
    """The same model without `mean`: its point estimates are made of samples. Raises ConfigError
    for a model that has no other."""
    if not model.has_mean:
        raise ConfigError("its mean is one of samples already: leave --variant out")
    model = copy.deepcopy(model)
    model.has_mean = False
    return model
