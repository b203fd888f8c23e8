import torch
import torchcfm

from experiments.field_audit.audit import Cases, ode

LIBRARY = "torchcfm"
START, END = 0.1, 0.9


def conditional(make):
    """The path between two points, by the velocity that its network is trained towards. At the ends
    some of these paths have no width, so they are followed from START to END."""

    def made():
        matcher = make()

        def halves(c):
            return c[:, :2], c[:, 2:]

        def velocity(t, x, c):
            time = torch.as_tensor(t, dtype=x.dtype).expand(len(x))
            return matcher.compute_conditional_flow(*halves(c), time, x)

        def place(t, c, epsilon):
            return matcher.sample_xt(*halves(c), torch.full((len(c),), t), epsilon)

        def to_data(x, c):
            still = torch.zeros(len(x), 2)
            mean, width = place(START, c, still), place(START, c, still + 1)
            return place(END, c, (x - mean) / (width - mean))

        return {"velocity": velocity, "to_data": to_data}

    return ode(made, (2,), (4,), times=(START, END))


CASES: Cases = {
    kind.__name__: conditional(lambda kind=kind: kind(sigma=0.3))
    for kind in (
        torchcfm.ConditionalFlowMatcher,
        torchcfm.TargetConditionalFlowMatcher,
        torchcfm.VariancePreservingConditionalFlowMatcher,
        torchcfm.SchrodingerBridgeConditionalFlowMatcher,
    )
}
