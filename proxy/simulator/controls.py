"""What tests ask and tell a simulated engine under /simulator/, which no real engine has.

GET  /simulator/calls[?request_id=ID]   each call's account, oldest first
GET  /simulator/totals                  over all calls
GET  /simulator/faults                  faults still to come; DELETE: none any more
PUT  /simulator/faults                  one fault or a list, replacing all
PUT  /simulator/pace                    {"tokens_per_second": 0, "first_token_delay_ms": 0}
PUT  /simulator/accepting               {"accepting": false, "for_ms": 2000}: connections wait in the backlog
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import msgspec

from proxy.simulator.accounts import Accounts
from proxy.simulator.faults import FaultPlan, decode_faults
from proxy.simulator.serving import Serving

# Told whether to accept, and after how many seconds to accept again (0: until told).
SetAccepting = Callable[[bool, float], None]


class PaceChange(msgspec.Struct, forbid_unknown_fields=True):
    """What is left out stays."""

    tokens_per_second: float | None = None
    first_token_delay_ms: float | None = None


class AcceptingChange(msgspec.Struct, forbid_unknown_fields=True):
    """`for_ms` 0: until told again."""

    accepting: bool
    for_ms: float = 0.0


class Controls:
    """Answers with a status and a JSON value."""

    def __init__(self, accounts: Accounts, faults: FaultPlan, serving: Serving) -> None:
        self._accounts = accounts
        self._faults = faults
        self._serving = serving
        # The server sets this; an app without it cannot stop accepting.
        self.set_accepting: SetAccepting | None = None

    def handle(self, method: str, path: str, query: bytes, body: bytes) -> tuple[int, Any]:
        name = path.removeprefix("/simulator/")
        try:
            if method == "GET":
                return self._get(name, query)
            if method == "PUT":
                return self._put(name, body)
            if method == "DELETE" and name == "faults":
                self._faults.replace(())
                return 200, []
        except msgspec.MsgspecError as error:
            return 400, {"detail": str(error)}
        return 404, {"detail": "Not Found"}

    def _get(self, name: str, query: bytes) -> tuple[int, Any]:
        if name == "calls":
            request_id = parse_qs(query.decode()).get("request_id", [None])[0]
            return 200, self._accounts.recent(request_id)
        if name == "totals":
            return 200, self._accounts.totals()
        if name == "faults":
            return 200, self._faults.in_force()
        return 404, {"detail": "Not Found"}

    def _put(self, name: str, body: bytes) -> tuple[int, Any]:
        if name == "faults":
            self._faults.replace(decode_faults(body))
            return 200, self._faults.in_force()
        if name == "pace":
            change = msgspec.json.decode(body, type=PaceChange)
            pace = self._serving.pace.overridden(change.tokens_per_second, change.first_token_delay_ms)
            self._serving.pace = pace
            return 200, pace
        if name == "accepting" and self.set_accepting is not None:
            wanted = msgspec.json.decode(body, type=AcceptingChange)
            self.set_accepting(wanted.accepting, wanted.for_ms / 1000)
            return 200, wanted
        return 404, {"detail": "Not Found"}
