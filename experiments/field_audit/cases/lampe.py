"""lampe: neural posterior estimation with the flows of zuko."""

import torch
import zuko
from lampe.inference import NPE

from experiments.field_audit.audit import Cases, flow

LIBRARY = "lampe"


def estimator(build):
    def make():
        return NPE(2, 3, build=build, transforms=2, hidden_features=(8, 8))

    class Flow(torch.nn.Module):
        """With the arguments of a flow: (theta, x)."""

        def __init__(self):
            super().__init__()
            self.npe = make()

        def log_prob(self, theta, x):
            return self.npe(theta, x)

        def sample(self, n, x):
            return self.npe.flow(x).sample((n,))

        def sample_and_log_prob(self, n, x):
            return self.npe.flow(x).rsample_and_log_prob((n,))

    return flow(Flow, (2,), (3,))


CASES: Cases = {
    "NPE MAF": estimator(zuko.flows.MAF),
    "NPE NSF": estimator(zuko.flows.NSF),
}
