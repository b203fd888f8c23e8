"""bayesflow 2.0.12: jacobian_trace with max_steps=k is k times the trace.
Cause: utils/jacobian/jacobian_trace.py:84, the k terms are added, not averaged. Matters: log_prob(..., max_steps=k) of FlowMatching and DiffusionModel, silently."""
import os

os.environ["KERAS_BACKEND"] = "torch"
import torch
from bayesflow.utils import jacobian_trace

for k in (1, 2, 10):
    print(k, "steps: wrong", jacobian_trace(lambda x: -0.5 * x, torch.ones(20000, 12), max_steps=k).mean().item(), "right", -6.0)
