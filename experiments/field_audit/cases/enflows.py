"""enflows, a fork of nflows."""

from experiments.field_audit.cases.nflows import densities, of

LIBRARY = "enflows"
CASES = of("enflows") | densities("enflows")
