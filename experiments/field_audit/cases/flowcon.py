"""flowcon, a fork of nflows, and what it adds."""

from flowcon import transforms

from experiments.field_audit.audit import bijection
from experiments.field_audit.cases.nflows import REAL, densities, of

LIBRARY = "flowcon"
CASES = of("flowcon") | densities("flowcon")
CASES["MaskedShift"] = bijection(
    lambda: transforms.MaskedShiftAutoregressiveTransform(4, 16), (4,), **REAL
)
