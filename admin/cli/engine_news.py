"""What an operator is told of the engines: at a start and at a reload what each serves, or why it does not
answer, and of those that come late what the start could not say.

The data plane finds out for itself, and serves them; nothing here is needed for that. Must not know which
processes run.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from admin import announcements
from admin.cli.readying import Ledger
from admin.first_run_file import FirstRun
from ledger.engine_settings import EngineSettings

if TYPE_CHECKING:
    from admin.asking import Heard

ROUND_SECONDS: Final = 2.0
"""As often as the data plane asks."""
ROUNDS_MAX: Final = 1800
"""About an hour: the largest models load in less, and a wrong URL is wrong for ever."""
NOTICED_SECONDS_MAX: Final = 10.0
"""How long the data plane may take to notice an engine that we have heard: it asks every two seconds, and
waits for five.
"""


@dataclass(slots=True)
class EngineNews:
    """Of one start and its reloads. `engines`: those to ask. `known`: models that nobody has to be asked for.
    `plane_url`: the data plane's.
    """

    settings: EngineSettings
    refuses_unpriced: bool
    ledger: Ledger
    engines: Sequence[str]
    known: Sequence[str]
    plane_url: str | None
    warn: Callable[[str], None]
    round_seconds: float = ROUND_SECONDS
    rounds_max: int = ROUNDS_MAX
    _heard: "Heard | None" = None
    _owed: FirstRun | None = None
    """Whose line to paste lacks a model."""
    _waiting: asyncio.Task[None] | None = field(default=None, repr=False)

    async def hear(self) -> list[str]:
        """Asks the engines; the models that are served."""
        if not self.engines:
            return list(self.known)
        from admin.asking import hear

        self._heard = await hear(self.engines, self._ask)
        return self._heard.models

    def say_missing(self) -> None:
        """Says which engines have no model, and why."""
        for line in announcements.missing_engines(self._heard) if self._heard else ():
            self.warn(line)

    def say_unpriced(self, models: Sequence[str]) -> None:
        """Says which models have no price."""
        if (priced := self.ledger.priced_models) is None:
            return
        if line := announcements.unpriced(set(models) - priced, refused=self.refuses_unpriced):
            self.warn(line)

    def wait(self, owed: FirstRun | None) -> None:
        """Goes on asking engines that have no model. `owed`: whose line to paste waits for one."""
        self._owed = owed
        self._begin(self._await_missing())

    def renew(self, settings: EngineSettings, refuses_unpriced: bool) -> None:
        """At a reload: looks at the engines of now."""
        self.settings, self.refuses_unpriced = settings, refuses_unpriced
        if self.engines:
            self.engines = settings.engines
            self._begin(self._look_again())

    def close(self) -> None:
        """Asks no more."""
        if self._waiting is not None:
            self._waiting.cancel()

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        self.close()
        self._waiting = asyncio.create_task(work)

    async def _look_again(self) -> None:
        models = await self.hear()
        self.say_missing()
        await self._tell(models)
        await self._await_missing()

    async def _await_missing(self) -> None:
        if self._heard is None or not self._heard.missing:
            return
        from admin.asking import hear

        missing = self._heard.missing
        for _ in range(self.rounds_max):
            await asyncio.sleep(self.round_seconds)
            heard = await hear(missing, self._ask)
            await self._tell(heard.models)
            missing = heard.missing
            if not missing:
                return
        self.warn(announcements.NOT_IN_TIME)

    async def _tell(self, models: Sequence[str]) -> None:
        """What the start could not say, without these."""
        if not models:
            return
        if self.plane_url is not None:
            await _noticed(self.plane_url)
        self.say_unpriced(models)
        if self._owed is not None:
            _say_late(["", *announcements.try_it(self._owed, models[0]), ""])
            self._owed = None

    def _ask(self, url: str) -> list[str]:
        """Raises EngineSilent."""
        from admin import asking, probe

        key = self.settings.engine_api_key
        return probe.models(
            url,
            api_key=key.get_secret_value() if key else None,
            ca_file=self.settings.engine_ca_file,
            timeout_seconds=asking.ASK_SECONDS,
        )


async def _noticed(plane_url: str) -> None:
    """Returns once the data plane serves calls, too: whoever pastes a line has an answer. Not for ever: there
    may be another reason why it does not.
    """
    from admin.asking import beside
    from admin.probe import is_ready

    with suppress(TimeoutError):
        async with asyncio.timeout(NOTICED_SECONDS_MAX):
            while not await beside(partial(is_ready, plane_url), NOTICED_SECONDS_MAX):  # noqa: ASYNC110 - of another process
                await asyncio.sleep(NOTICED_SECONDS_MAX / 50)


def _say_late(lines: Sequence[str]) -> None:
    """After `ready`, where stdout may be nobody's any more: past Python's buffer, which would complain of it
    at the end, too.
    """
    with suppress(OSError):
        os.write(sys.stdout.fileno(), "".join(f"{line}\n" for line in lines).encode())
