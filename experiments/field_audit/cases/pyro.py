import torch
from pyro.distributions import transforms
from pyro.nn import AutoRegressiveNN, ConditionalAutoRegressiveNN, DenseNN

from experiments.field_audit.audit import Cases, bijection

LIBRARY = "pyro-ppl"
FOUR = torch.tensor([2, 0, 3, 1])


def auto(*parameters, **options):
    return AutoRegressiveNN(4, [8], param_dims=list(parameters) or [1, 1], **options)


t = transforms
CASES: Cases = {
    "AffineAutoregressive": bijection(lambda: t.AffineAutoregressive(auto()), (4,)),
    "AffineAutoregressive stable": bijection(
        lambda: t.AffineAutoregressive(auto(), stable=True), (4,)
    ),
    "AffineAutoregressive permuted": bijection(
        lambda: t.AffineAutoregressive(auto(permutation=FOUR)), (4,)
    ),
    "ConditionalAffineAutoregressive": bijection(
        lambda: t.ConditionalAffineAutoregressive(ConditionalAutoRegressiveNN(4, 2, [8])),
        (4,),
        (2,),
    ),
    "AffineCoupling": bijection(lambda: t.AffineCoupling(2, DenseNN(2, [8], [2, 2])), (4,)),
    "AffineCoupling odd": bijection(lambda: t.AffineCoupling(2, DenseNN(2, [8], [3, 3])), (5,)),
    "AffineCoupling image": bijection(
        lambda: t.AffineCoupling(1, DenseNN(20, [8], [40, 40]), dim=-3), (3, 4, 5)
    ),
    "BatchNorm": bijection(lambda: t.BatchNorm(4), (4,)),
    "DiscreteCosineTransform": bijection(lambda: t.DiscreteCosineTransform(), (5,)),
    "HaarTransform": bijection(lambda: t.HaarTransform(), (8,)),
    "ELUTransform": bijection(lambda: t.ELUTransform(), (4,)),
    "LeakyReLUTransform": bijection(lambda: t.LeakyReLUTransform(), (4,)),
    "SoftplusTransform": bijection(lambda: t.SoftplusTransform(), (4,)),
    "GeneralizedChannelPermute": bijection(lambda: t.GeneralizedChannelPermute(3), (3, 4, 5)),
    "ConditionalGeneralizedChannelPermute": bijection(
        lambda: t.ConditionalGeneralizedChannelPermute(DenseNN(2, [8], [9]), channels=3),
        (3, 4, 5),
        (2,),
    ),
    "Householder": bijection(lambda: t.Householder(4, 3), (4,)),
    "ConditionalHouseholder": bijection(
        lambda: t.ConditionalHouseholder(4, DenseNN(2, [8], [4, 4]), 2), (4,), (2,)
    ),
    "LowerCholeskyAffine": bijection(
        lambda: t.LowerCholeskyAffine(torch.ones(4), torch.ones(4, 4).tril() + torch.eye(4)), (4,)
    ),
    "MatrixExponential": bijection(lambda: t.MatrixExponential(4, iterations=20), (4,)),
    "OrderedTransform": bijection(lambda: t.OrderedTransform(), (4,)),
    "Permute": bijection(lambda: t.Permute(FOUR), (4,)),
    "Planar": bijection(lambda: t.Planar(4), (4,)),
    "ConditionalPlanar": bijection(
        lambda: t.ConditionalPlanar(DenseNN(2, [8], [1, 4, 4])), (4,), (2,)
    ),
    "Radial": bijection(lambda: t.Radial(4), (4,)),
    "Polynomial": bijection(lambda: t.Polynomial(auto(6), 4, 2, 2), (4,)),
    "Sylvester": bijection(lambda: t.Sylvester(4, 3), (4,)),
    "BlockAutoregressive": bijection(lambda: t.BlockAutoregressive(4, [8]), (4,)),
    "NeuralAutoregressive": bijection(lambda: t.NeuralAutoregressive(auto(6, 6, 6), 6), (4,)),
}
for order, sizes in {"linear": [8, 8, 7, 8], "quadratic": [8, 8, 7]}.items():
    CASES[f"Spline {order}"] = bijection(lambda order=order: t.Spline(4, 8, order=order), (4,))
    CASES[f"SplineAutoregressive {order}"] = bijection(
        lambda order=order, sizes=sizes: t.SplineAutoregressive(4, auto(*sizes), 8, order=order),
        (4,),
    )
    CASES[f"SplineCoupling {order}"] = bijection(
        lambda order=order, sizes=sizes: t.SplineCoupling(
            4, 2, DenseNN(2, [8], [2 * size for size in sizes]), order=order
        ),
        (4,),
    )
