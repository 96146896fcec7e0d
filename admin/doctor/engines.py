"""The engines: each answers, what it serves, whether it wants the key that it is given, what time it has."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from admin import probe
from admin.announcements import unpriced
from admin.doctor.finding import Check, Finding, Look, Tell, note, ok, wrong
from ledger.setting import Secret

TIMEOUT_SECONDS: Final = 4.0
SKEW_US: Final = 5_000_000
"""The header has whole seconds, and an engine's clock only says which life of it a count is from."""


@dataclass(slots=True)
class Engines:
    """Looks at each, and keeps what they serve. `is_key_told`: False where the metergate that runs here has a
    key that this shell has not.
    """

    urls: tuple[str, ...]
    key: Secret | None
    ca_file: Path | None
    is_key_told: bool = True
    models: set[str] = field(default_factory=set, init=False)

    def looks(self) -> list[Look]:
        """One for each: a replica that hangs holds up none."""
        if not self.urls:
            return [Look(Check.ENGINES, _none)]
        return [Look(Check.ENGINE, partial(self._look, url), url) for url in dict.fromkeys(self.urls)]

    def _look(self, url: str, tell: Tell) -> None:
        key = self.key.get_secret_value() if self.key else None
        ask = partial(probe.ask, url, ca_file=self.ca_file, timeout_seconds=TIMEOUT_SECONDS)
        try:
            answer = ask(api_key=key)
        except probe.EngineSilent as fault:
            tell(self._silent(fault, url))
            return
        self.models |= set(answer.models)
        served = ", ".join(answer.models)
        words = f"it serves {served or 'no model'} and answers in {answer.seconds * 1000:.0f} ms"
        do = "load a model" if not served else ""
        tell(ok(Check.ENGINE, words, about=url) if served else wrong(Check.ENGINE, words, do, about=url))
        if answer.date_us is not None:
            tell(_clock(answer.date_us - answer.asked_us, url))
        if key is not None:
            tell(self._is_key_wanted(partial(ask, api_key=None), url))

    def _silent(self, fault: probe.EngineSilent, url: str) -> Finding:
        if fault.wants_key and not self.is_key_told:
            do = "set METERGATE_ENGINE_API_KEY here, too, as the metergate that runs has it"
            return note(Check.ENGINE, f"it {fault} without the key", do, about=url)
        return wrong(Check.ENGINE, f"it {fault}", fault.do, about=url)

    def _is_key_wanted(self, ask: "partial[probe.Answer]", url: str) -> Finding:
        try:
            ask()
        except probe.EngineSilent as fault:
            if fault.wants_key:
                return ok(
                    Check.ENGINE_KEY, "it takes METERGATE_ENGINE_API_KEY, and nobody without", about=url
                )
            return note(Check.ENGINE_KEY, f"without a key it {fault}", "ask it again", about=url)
        do = "start it with --api-key, or let metergate alone reach it: what others ask is not metered"
        return note(Check.ENGINE_KEY, "it serves whoever has no key, too", do, about=url)


def of_prices(models: set[str], priced: frozenset[str], *, refused: bool) -> Finding:
    """Models that an engine serves and that have no price for everybody."""
    if line := unpriced(models - priced, refused=refused):
        fact, _, do = line.removeprefix("warning: ").partition("; ")
        return note(Check.PRICES, fact, do)
    return ok(Check.PRICES, "every model that is served has a price")


def _none(tell: Tell) -> None:
    tell(note(Check.ENGINES, "none is set: the simulator would answer", "set METERGATE_ENGINES"))


def _clock(skew_us: int, url: str) -> Finding:
    if abs(skew_us) > SKEW_US:
        told = f"its clock is {abs(skew_us) / 1e6:.0f} s {'ahead' if skew_us > 0 else 'behind'}"
        return note(Check.ENGINE_CLOCK, told, "have it set by NTP: its lives are told apart by it", about=url)
    return ok(Check.ENGINE_CLOCK, "its clock is this machine's, to the second", about=url)
