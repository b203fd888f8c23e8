import flowtorch.bijectors as bijectors
import flowtorch.parameters as parameters
import torch
from flowtorch.bijectors.utils import set_record_flow_graph

from experiments.field_audit.audit import Cases, bijection

LIBRARY = "flowtorch"
FOUR = torch.tensor([2, 0, 3, 1])


def forward(layer, x, c):
    with set_record_flow_graph(False):
        z = layer.forward(x)
    log_det = layer.log_abs_det_jacobian(x, z)
    if log_det.shape == x.shape[1:]:  # the same for every row: it broadcasts
        log_det = log_det.expand(x.shape)
    return z, log_det.reshape(len(x), -1).sum(1)


def inverse(layer, z, c):
    with set_record_flow_graph(False):
        return layer.inverse(z), None


def layer(kind, domain="real", **options):
    return bijection(
        lambda: kind(**options)(shape=torch.Size([4])),
        (4,),
        domain=domain,
        forward=forward,
        inverse=inverse,
    )


def dense(**options):
    return parameters.DenseAutoregressive(hidden_dims=(8,), **options)


b = bijectors
CASES: Cases = {
    "Affine": layer(b.Affine),
    "AffineFixed": layer(b.AffineFixed, loc=1.0, scale=2.0),
    "AffineAutoregressive": layer(b.AffineAutoregressive, params_fn=dense()),
    "AffineAutoregressive permuted": layer(
        b.AffineAutoregressive, params_fn=dense(permutation=FOUR)
    ),
    "Spline": layer(b.Spline),
    "SplineAutoregressive": layer(b.SplineAutoregressive, params_fn=dense()),
    "ELU": layer(b.ELU),
    "LeakyReLU": layer(b.LeakyReLU),
    "Exp": layer(b.Exp),
    "Power": layer(b.Power, "positive", exponent=3.0),
    "Sigmoid": layer(b.Sigmoid),
    "Softplus": layer(b.Softplus),
    "Tanh": layer(b.Tanh),
    "Permute": layer(b.Permute, permutation=FOUR),
    "Permute drawn": layer(b.Permute),
    "Compose": layer(b.Compose, bijectors=[b.AffineAutoregressive(dense()), b.Spline()]),
    "Invert": layer(b.Invert, bijector=b.Affine()),
}
