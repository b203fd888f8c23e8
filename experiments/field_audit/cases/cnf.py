"""This package, with the same laws."""

from tests.laws.cases import ALL_BIJECTIONS
from tools.field_audit import Cases, bijection

LIBRARY = "cnf"
CASES: Cases = {
    str(case): bijection(case.new, case.shape, case.context, codomain="real")
    for case in ALL_BIJECTIONS
    if case.uses_h or not case.conditional
}
