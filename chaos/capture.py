"""How much of what a real engine generates is in the ledger: streams whose clients leave at random, and kill
-9 of the workers that carry them.

The engine is anybody's; it is asked for nothing but its own counter, `vllm:generation_tokens_total`. It does
not say what each call made, so the streams come a few at a time: between two such groups everything is quiet,
and what the counter has grown by is the group's. A difference so has a few streams to it, whose rows are
shown. Nobody else may use the engine meanwhile.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

from chaos.captured import Capture, Group, judge
from chaos.client import call
from chaos.plan import CHAT, Asked, CallReport, Leaving, request_bytes
from chaos.service import Service, kill
from race.book import Book
from race.databases import Databases
from race.owner import Owner

_QUIET_S = 0.3
_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked of the engine. `at_once`: the streams of a group."""

    streams: int = 300
    kills: int = 10
    at_once: int = 3
    seed: int = 1
    tokens: tuple[int, int] = (20, 120)


def capture(kinds: Databases, engine_url: str, model: str, plan: Plan) -> Capture:
    """Runs it, with a metergate of its own on SQLite before that engine."""
    with kinds.fresh("sqlite") as (folder, url):
        owner = Owner(folder / "data", url)
        words = folder / "metergate.words"
        service = Service(folder / "data", [engine_url], words, lambda: 2, database_url=url)
        try:
            service.wait_ready()
            running = _Running(service, engine_url, model, owner.secret, plan)
            result = running.run()
            service.start_anew()
            status = service.stop()
        finally:
            service.end()
        rows = {row.end_user: row for row in Book(url).calls()}
    result.violations += [] if not status else [f"the stop ended with status {status}"]
    judge(result, rows)
    return result


class _Running:
    """The streams, group after group."""

    def __init__(self, service: Service, engine_url: str, model: str, secret: str, plan: Plan) -> None:
        self._service = service
        self._engine_url = engine_url
        self._model = model
        self._secret = secret
        self._plan = plan
        self._dice = random.Random(f"{plan.seed}/capture")

    def run(self) -> Capture:
        """All of them."""
        plan, dice = self._plan, self._dice
        numbers = range(-(-plan.streams // plan.at_once))
        killed = set(dice.sample(numbers, plan.kills))
        owed = 0
        calls = self._asked()
        result = Capture([], 0, 0)
        before = self._settled_counter()
        for number in numbers:
            size = min(plan.at_once, plan.streams - number * plan.at_once)
            asked = [next(calls) for _ in range(size)]
            owed += number in killed
            reports, in_flight = self._with_a_kill(asked) if owed else (self._calls(asked), 0)
            kind = "left" if any(report.left for report in reports) else "calm"
            if in_flight:
                kind, owed = "killed", owed - 1
                result.kills += 1
                result.in_flight_at_kills += in_flight
            group = Group(number, kind, reports)
            after = self._settled_counter()
            group.generated, before = after - before, after
            result.groups.append(group)
        return result

    def _calls(self, asked: list[Asked]) -> list[CallReport]:
        async def all_of_them() -> list[CallReport]:
            port = self._service.port
            return list(await asyncio.gather(*(call(port, "capture", one) for one in asked)))

        return asyncio.run(all_of_them())

    def _with_a_kill(self, asked: list[Asked]) -> tuple[list[CallReport], int]:
        """What the clients got, and what the killed worker had in flight; 0: all calls were over before."""
        in_flight, wait_s = 0, self._dice.random() * 0.5
        over = threading.Event()

        def strike() -> None:
            nonlocal in_flight
            while not self._service.busy_workers():
                if over.wait(0.005):
                    return
            over.wait(wait_s)
            for pid, calls in self._service.busy_workers().values():
                kill(pid)
                in_flight = calls
                return

        killer = threading.Thread(target=strike)
        killer.start()
        reports = self._calls(asked)
        over.set()
        killer.join()
        _wait_until_served(self._service)
        return reports, in_flight

    def _asked(self) -> Iterator[Asked]:
        dice = self._dice
        for number in range(self._plan.streams):
            name = f"capture-{number}"
            body: dict[str, object] = {
                "model": self._model,
                "messages": [{"role": "user", "content": f"Tell me of the number {number}."}],
                "max_tokens": dice.randint(*self._plan.tokens),
                "ignore_eos": True,
                "stream": True,
                "stream_options": {"include_usage": True, "continuous_usage_stats": True},
                "user": name,
                "seed": number,
            }
            leaves = dice.random() < 0.5
            after_bytes = dice.randint(1, 24_000) if leaves else 0
            how = Leaving.CLOSES if dice.random() < 0.5 else Leaving.RESETS
            request = request_bytes(CHAT, self._secret, body)
            yield Asked(
                name, request, True, True, 1, how if leaves else Leaving.NEVER, after_bytes, 0, slow=False
            )

    def _settled_counter(self) -> int:
        """`vllm:generation_tokens_total` once nothing runs on the engine and it stands still."""
        until = time.monotonic() + _PATIENCE_S
        last, since = -1, time.monotonic()
        while time.monotonic() < until:
            page = self._metrics()
            counter = _sum_of("vllm:generation_tokens_total", page)
            idle = not _sum_of("vllm:num_requests_running", page) + _sum_of("vllm:num_requests_waiting", page)
            if not idle or counter != last:
                last, since = counter, time.monotonic()
            elif time.monotonic() - since >= _QUIET_S:
                return counter
            time.sleep(0.05)
        raise AssertionError("the engine does not come to rest")

    def _metrics(self) -> str:
        with urllib.request.urlopen(f"{self._engine_url}/metrics", timeout=_PATIENCE_S) as answer:
            page: bytes = answer.read()
            return page.decode()


def _wait_until_served(service: Service) -> None:
    """Both workers are there."""
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        if len(service.holding_workers()) == 2:
            return
        time.sleep(0.05)
    raise AssertionError(f"the workers do not come back: {service.words()[-2000:]}")


def _sum_of(name: str, page: str) -> int:
    lines = (line for line in page.splitlines() if line.startswith((f"{name}{{", f"{name} ")))
    return int(sum(float(line.rpartition(" ")[2]) for line in lines))
