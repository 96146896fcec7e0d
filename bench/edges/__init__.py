"""The edges: what metergate costs where the main table does not look, one module a measurement.

    python -m bench.edges                 all of them (half an hour)
    python -m bench.edges posting keys    these

Rules: a measurement sets up and takes down what it needs, on the same cores as the comparison (bench/), and
returns lines; each value of a line is one round. It must not know how lines are shown, nor fail for an aim
that is missed: the report says so.
"""
