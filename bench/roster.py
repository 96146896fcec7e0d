"""All who are measured, in the order in which rounds run them; the first is what ratios are taken to."""

from __future__ import annotations

from bench.peers import PEERS
from bench.subjects import Subject
from bench.subjects.metergate import Metergate, MetergatePostgresql
from bench.subjects.nginx import Nginx

_OURS: tuple[type[Subject], ...] = (Nginx, Metergate, MetergatePostgresql)
SUBJECTS: dict[str, type[Subject]] = {each.name: each for each in (*_OURS, *PEERS.values())}
BASELINE = Nginx.name
