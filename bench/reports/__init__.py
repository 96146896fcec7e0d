"""Reports over ten million calls: what usage and costs take, and whether all of them tie.

    python -m bench.reports                  ten million calls, every grouping (twenty minutes)
    python -m bench.reports --calls 200000   a quick look

Rules: the book is made inside a new PostgreSQL, the same calls at each run, its rollups out of its rows;
requests go over HTTP to a control plane that is a process of its own. It must not know how a report is made.
"""
