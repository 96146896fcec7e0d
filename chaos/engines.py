"""The engines of the chaos: simulators that are killed, frozen and told to fail, and what each counted.

Owns their processes and their account files: one file for each run of an engine, which kill -9 leaves whole.
Must not know the ledger.
"""

from __future__ import annotations

import signal
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from chaos.counted import EngineCall
from chaos.plan import MODELS, SWIFT
from proxy.simulator import Fault
from proxy.simulator.account_file import read_accounts
from race.engine import start_engine
from race.processes import Process, now_us

TOKENS_PER_SECOND = 40
_SWIFT = Fault(model=SWIFT, tokens_per_second=1000.0)
_CALL_S = 2.0


class Engine:
    """One replica, on one port for good."""

    def __init__(self, folder: Path, number: int) -> None:
        self._folder = folder
        self._number = number
        self._runs: list[Path] = []
        self._frozen: list[tuple[int, int]] = []
        self._frozen_since = 0
        self.port = 0
        self._process: Process | None = None
        self.start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def is_up(self) -> bool:
        """Whether it runs, and is not frozen."""
        return self._process is not None and not self._frozen_since

    @property
    def is_dead(self) -> bool:
        """Whether it was killed, and not started since."""
        return self._process is None

    def start(self) -> None:
        """Starts it, with an account file of its own."""
        account = self._folder / f"engine{self._number}-{len(self._runs)}.accounts"
        models = [word for model in MODELS for word in ("--model", model)]
        self._process, self.port = start_engine(
            *models,
            "--tokens-per-second",
            str(TOKENS_PER_SECOND),
            "--account-file",
            str(account),
            port=self.port,
            words=self._folder / f"engine{self._number}.words",
        )
        self._runs.append(account)
        self.fail(())

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.kill()
        self._process = None

    def freeze(self) -> None:
        """It stands still: connections stay, nothing is said on them."""
        assert self._process is not None
        self._frozen_since = now_us()
        self._process.popen.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        assert self._process is not None
        self._process.popen.send_signal(signal.SIGCONT)
        self._frozen.append((self._frozen_since, now_us()))
        self._frozen_since = 0

    def fail(self, faults: tuple[Fault, ...]) -> None:
        """Tells it how the next calls fail; none: not at all any more."""
        document = msgspec.json.encode([*faults, _SWIFT])
        request = urllib.request.Request(f"{self.url}/simulator/faults", document, method="PUT")
        with suppress(OSError):  # it may be too busy: then it does not fail
            urllib.request.urlopen(request, timeout=_CALL_S).close()

    def running(self) -> int:
        """How many calls run on it now."""
        with urllib.request.urlopen(f"{self.url}/simulator/totals", timeout=20) as answer:
            totals: dict[str, Any] = msgspec.json.decode(answer.read())
        return int(totals["ended"]["running"])

    def calls(self) -> list[EngineCall]:
        """Every call of every run; to be asked when it is over."""
        return [self._call(account) for path in self._runs for account in read_accounts(path)]

    def _call(self, account: dict[str, Any]) -> EngineCall:
        began, ended = account["arrived_us"], account["ended_us"] or now_us()
        frozen = any(began <= until and since <= ended for since, until in self._frozen)
        names = ("request_id", "endpoint", "streamed", "arrived_us", "prompt_tokens", "generated_tokens")
        counts = {name: account[name] for name in names}
        return EngineCall(**counts, chunks_sent=account["chunks_sent"], ended=account["ended"], frozen=frozen)

    def stop(self) -> None:
        """Ends it."""
        if self._process is not None:
            self._process.kill()


class Fleet:
    """All replicas of the models."""

    def __init__(self, folder: Path, replicas: int) -> None:
        self.engines: list[Engine] = []
        try:
            for number in range(replicas):
                self.engines.append(Engine(folder, number))
        except BaseException:
            self.stop()
            raise

    @property
    def urls(self) -> list[str]:
        """Where they are."""
        return [engine.url for engine in self.engines]

    def up(self) -> list[Engine]:
        """Those that answer now."""
        return [engine for engine in self.engines if engine.is_up]

    def running(self) -> int:
        """How many calls run on all of them."""
        return sum(engine.running() for engine in self.engines)

    def calls(self) -> list[EngineCall]:
        """Every call of all of them."""
        return [call for engine in self.engines for call in engine.calls()]

    def stop(self) -> None:
        """Ends them."""
        for engine in self.engines:
            engine.stop()


def faults_of(pick: float) -> tuple[Fault, ...]:
    """The faults of one incident: `pick`, from 0 up to 1, says which, and where they strike."""
    kinds = (
        lambda at: Fault(die_after_chunks=at, count=2),
        lambda at: Fault(die_after_chunks=at, reset=True, count=2),
        lambda at: Fault(hang_after_chunks=at, count=1),
        lambda at: Fault(error_after_chunks=at, count=2),
        lambda at: Fault(error_after_chunks=at, omit_done=True, count=2),
        lambda at: Fault(die_before_headers=True, reset=at % 2 == 0, count=2),
        lambda at: Fault(omit_done=True, count=2),
        lambda at: Fault(break_answer_at_byte=at * 5, count=6),
        lambda at: Fault(split_seed=at, count=4),
        lambda at: Fault(coalesce_events=2 + at, count=4),
        lambda at: Fault(stall_after_chunks=at, stall_ms=400, count=2),
        lambda at: Fault(headers_delay_ms=20.0 * at, count=4),
    )
    at_kind = pick * len(kinds)
    return (kinds[int(at_kind)](int((at_kind % 1) * 40)),)
