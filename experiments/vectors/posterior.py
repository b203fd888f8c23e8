"""Our flow as the density of sbi's neural posterior estimation, where the posterior is known.

    python -m experiments.vectors.posterior

Two parameters are uniform on (-3, 3), the data are these with noise of deviation 1/2: far from the
ends the posterior given x is N(x, 1/4). Needs sbi 0.27, which is no part of any extra.
"""

import torch
from sbi.inference import NPE
from sbi.neural_nets.estimators.base import ConditionalDensityEstimator
from sbi.utils import BoxUniform
from torch import Tensor

import cnf


class Estimator(ConditionalDensityEstimator):
    """What sbi asks of a density of the parameters `input` given the data `condition`."""

    def __init__(self, theta: Tensor, x: Tensor):
        flow = cnf.vector_flow(theta.shape[1], x.shape[1])
        super().__init__(flow, theta.shape[1:], x.shape[1:])

    def log_prob(self, input: Tensor, condition: Tensor) -> Tensor:
        return self.net.given(condition).log_prob(input)

    def loss(self, input: Tensor, condition: Tensor) -> Tensor:
        return -self.net.log_prob(input, condition)

    def sample(self, sample_shape: torch.Size, condition: Tensor) -> Tensor:
        return self.net.given(condition).sample(sample_shape)


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    prior = BoxUniform(-3 * torch.ones(2), 3 * torch.ones(2))
    theta = prior.sample((3000,))
    x = theta + 0.5 * torch.randn_like(theta)
    inference = NPE(prior, density_estimator=Estimator, show_progress_bars=False)
    estimator = inference.append_simulations(theta, x).train(max_num_epochs=25)
    posterior = inference.build_posterior(estimator)
    seen = torch.tensor([[0.5, -1.0]])
    drawn = posterior.sample((2000,), x=seen, show_progress_bars=False)
    print(f"mean {drawn.mean(0).tolist()}, known {seen[0].tolist()}")
    print(f"deviation {drawn.std(0).tolist()}, known [0.5, 0.5]")


if __name__ == "__main__":
    main()
