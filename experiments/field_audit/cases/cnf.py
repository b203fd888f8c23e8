"""This package, with the same laws."""

import cnf
from experiments.field_audit.audit import Cases, bijection
from tests.laws.cases import ALL_BIJECTIONS

LIBRARY, VERSION = "cnf", cnf.__version__
CASES: Cases = {
    str(case): bijection(case.new, case.shape, case.context, codomain="real")
    for case in ALL_BIJECTIONS
    if case.uses_h or not case.conditional
}
