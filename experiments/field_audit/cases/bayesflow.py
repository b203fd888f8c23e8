import os

os.environ["KERAS_BACKEND"] = "torch"

import keras  # noqa: E402
import torch  # noqa: E402
from bayesflow.utils import integrate, jacobian_trace  # noqa: E402

from experiments.field_audit.audit import Cases, ode  # noqa: E402

LIBRARY = "bayesflow"
MATRIX = torch.tensor([[0.5, -1.0, 0.3], [0.7, -0.2, 0.9], [-0.4, 0.6, 1.1]])


def twisted(t, x):
    return torch.tanh(x @ MATRIX.to(x)) + (0.5 - t) * x


def traced(max_steps):
    def make():
        keras.config.set_floatx("float64")

        def divergence(t, x):
            return jacobian_trace(lambda y: twisted(t, y), x, max_steps=max_steps)

        return {"velocity": twisted, "divergence": divergence}

    return ode(make, (3,))


def stepped(method, order):
    """log_prob of paths that its solver follows in n steps, with its exact trace."""

    def make():
        keras.config.set_floatx("float64")

        def in_steps(x, n):
            def deltas(time, xz):
                v, trace = jacobian_trace(lambda y: twisted(time, y), xz, return_output=True)
                return {"xz": v, "trace": trace[:, None]}

            start = {"xz": x, "trace": torch.zeros(len(x), 1)}
            times = {"start_time": 1.0, "stop_time": 0.0, "steps": n}
            end = integrate(deltas, start, method=method, **times)
            return normal(end["xz"]) + end["trace"][:, 0]

        return {"velocity": twisted, "in_steps": in_steps}

    return ode(make, (3,), order=order)


def normal(z):
    return torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)


CASES: Cases = {
    "jacobian_trace": traced(None),
    "jacobian_trace of 1 step": traced(1),
    "jacobian_trace of 2 steps": traced(2),
    "integrate euler": stepped("euler", 1),
    "integrate rk45": stepped("rk45", 5),
    "integrate tsit5": stepped("tsit5", 5),
}
