import torch
from sbi.neural_nets import posterior_nn

from experiments.field_audit.audit import Cases, density

LIBRARY = "sbi"


def estimator(model, scored):
    def check():
        torch.manual_seed(0)
        theta = torch.randn(400, 2) * torch.tensor([1.0, 3.0]) + torch.tensor([0.0, 5.0])
        x = theta @ torch.tensor([[1.0, 0.3, 0.0], [0.0, 1.0, -1.0]]) + 0.3 * torch.randn(400, 3)
        build = posterior_nn(
            model, hidden_features=8, num_transforms=2, z_score_theta=scored, z_score_x=scored
        )
        made, given = build(theta, x).double().eval(), x[:1].double()
        return density(
            lambda v: made.log_prob(v[:, None], given)[:, 0],
            (2,),
            None,
            lambda n: made.sample(torch.Size((n,)), given)[:, 0],
            lambda n: tuple(t[:, 0] for t in made.sample_and_log_prob(torch.Size((n,)), given)),
        )()

    return check


CASES: Cases = {}
for model in ("mdn", "made", "maf", "nsf", "zuko_maf", "zuko_nsf", "zuko_gf"):
    for scored in ("independent", "structured", "none"):
        CASES[f"{model} {scored}"] = estimator(model, scored)
