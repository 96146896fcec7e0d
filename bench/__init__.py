"""The comparison behind `make bench`: metergate beside nginx passing the same bytes, and beside its peers, in
one run, on one core.

What is measured is CPU time of the subject's whole process tree, not wall time: that survives a noisy
machine. No number here is a verdict; ratios to nginx in the same run are what a reader may compare between
machines.

    python -m bench                                          the whole comparison
    python -m bench --quick                                  nginx and metergate alone, about a minute
    python -m bench --only metergate --phase paced --hold    one phase, again and again, for a profiler
"""
