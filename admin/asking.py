"""Asking engines what they serve, all at the same time, for the operator's eyes: nothing waits longer than
ASK_SECONDS_MAX, whatever hangs. Must not know why it is asked, or what is said of it.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from admin.probe import EngineSilent

ASK_SECONDS: Final = 2.0
"""Longest wait for each step of an answer."""
ASK_SECONDS_MAX: Final = 3.0
"""Longest wait for all of it: a name server that is away is no step that a socket knows of."""
Ask = Callable[[str], list[str]]
"""The models of the engine at a URL; raises EngineSilent."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Heard:
    """What each engine serves, by URL, and why those that did not answer did not."""

    serving: dict[str, list[str]]
    silent: dict[str, EngineSilent]

    @property
    def models(self) -> list[str]:
        """All that are served, in the engines' order."""
        return [model for models in self.serving.values() for model in models]

    @property
    def missing(self) -> list[str]:
        """The URLs of engines without a model so far."""
        return [*self.silent, *(url for url, models in self.serving.items() if not models)]


async def hear(urls: Iterable[str], ask: Ask) -> Heard:
    """Asks all of them at the same time."""
    urls = list(dict.fromkeys(urls))
    heard = Heard({}, {})
    answers = await asyncio.gather(*(_heard_of(url, ask) for url in urls))
    for url, answer in zip(urls, answers, strict=True):
        if isinstance(answer, EngineSilent):
            heard.silent[url] = answer
        else:
            heard.serving[url] = answer
    return heard


async def _heard_of(url: str, ask: Ask) -> list[str] | EngineSilent:
    try:
        return await beside(partial(ask, url), ASK_SECONDS_MAX)
    except EngineSilent as fault:
        return fault
    except TimeoutError:
        return EngineSilent(f"does not answer within {ASK_SECONDS_MAX:g} s", "see whether its name resolves")


async def beside(work: Callable[[], T], seconds: float) -> T:
    """Work in a thread that nothing waits for: what hangs there (a name server) holds up no stop. Raises
    TimeoutError.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, fault: BaseException | None) -> None:
        if done.done():
            return
        if fault is None:
            done.set_result(result)  # type: ignore[arg-type]  # what `work` returned
        else:
            done.set_exception(fault)

    def run() -> None:
        result, fault = None, None
        try:
            result = work()
        except BaseException as raised:
            fault = raised
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(settle, result, fault)

    threading.Thread(target=run, name="asking", daemon=True).start()
    async with asyncio.timeout(seconds):
        return await done
