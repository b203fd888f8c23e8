"""Our flow against FrEIA, nflows and normflows: the same work, in one process, interleaved.

    python -m tools.bench [--device cuda] [--minutes 8] [--quick]

`work` states the architecture, one file a library builds it from that library's own parts,
`measure` times and weighs it, `report` prints, writes and draws. The package `cnf` imports none of
the three libraries: they are the optional extra `bench`.
"""
