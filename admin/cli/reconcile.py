"""`metergate reconcile`: the ledger against the engines' own counters, now and since some time."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from admin.cli.command import Fault, Request, common, now_us, print_json, print_table

if TYPE_CHECKING:
    from ledger.database import Database
    from ledger.engine_settings import EngineSettings
    from ledger.reconciliation.comparison import Comparison
    from ledger.reconciliation.lives import Sample

SINCE = "24h"
PAUSE_SECONDS = 1.2
"""Between two looks: an engine that counted nothing meanwhile has nothing under way."""
COLUMNS = (
    "backend",
    "model",
    "from",
    "until",
    "calls",
    "engine_prompt",
    "ledger_prompt",
    "engine_generated",
    "ledger_generated",
    "captured",
    "unexplained",
    "verdict",
)


def register(app: typer.Typer) -> None:
    """Adds the command to the tree."""
    app.command()(reconcile)


@common
def reconcile(
    request: Request,
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="Look back so far: 24h, 7d, 2026-11-27T10:00:00Z.")
    ] = SINCE,
    engine: Annotated[
        list[str] | None,
        typer.Option(
            "--engine",
            metavar="URL",
            help="Only this engine; may be repeated (METERGATE_ENGINES, or those that are served here).",
            show_default=False,
        ),
    ] = None,
    tolerance: Annotated[
        int, typer.Option("--tolerance", min=0, metavar="N", help="Let so many tokens of either kind go.")
    ] = 0,
    spans: Annotated[
        Path | None,
        typer.Option(
            "--spans",
            metavar="FILE",
            help="Compare call by call with the engine's spans instead (OTLP, a line of JSON each export).",
            show_default=False,
        ),
    ] = None,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="One look, and what is not posted yet is left out.")
    ] = False,
) -> None:
    """Compare the ledger with the engines' own counters. Exit status 1 if tokens are unexplained, an engine
    does not tell its counts, or nothing could be compared.
    """
    from admin.cli.reach import with_database
    from admin.times import parse_since
    from ledger.engine_settings import EngineSettings
    from ledger.settings import load

    if spans is not None:
        from admin.cli.span_file import compare_file

        if not compare_file(request, spans, no_wait=no_wait):
            raise typer.Exit(1)
        return
    settings = load(
        EngineSettings,
        data_dir=request.data_dir,
        database_url=request.database_url,
        engines=tuple(engine) if engine else None,
    )
    since_us = parse_since(since, now_us())
    look = _Look(settings, since_us, settings.engines if engine else None, no_wait=no_wait)
    found = with_database(settings, look.run)
    if not _show(request, found, look.silent, tolerance):
        raise typer.Exit(1)


class _Look:
    """One look at every engine, and at the ledger. `silent`: the engines that do not tell, and why."""

    def __init__(
        self, settings: "EngineSettings", since_us: int, only: tuple[str, ...] | None, *, no_wait: bool
    ) -> None:
        self._settings = settings
        self._since_us = since_us
        self._only = only
        self._no_wait = no_wait
        self.silent: dict[str, str] = {}

    async def run(self, database: "Database") -> "list[Comparison]":
        """Samples, waits, compares. Raises Fault, LedgerError."""
        from admin.data_folder import kept_engines
        from ledger.reconciliation import samples
        from ledger.reconciliation.checks import compare
        from ledger.settled import wait_posted

        engines = self._settings.engines or kept_engines(self._settings.data_dir)
        if not engines:
            raise Fault("no engine is known: give --engine URL, or set METERGATE_ENGINES")
        taken = await self._ask(engines)
        async with database.write() as session:
            await samples.keep(session, taken)
        if not self._no_wait:
            settings = self._settings
            await wait_posted(settings.data_dir, database, currency=settings.currency)
        async with database.read() as session:
            kept = await samples.kept(session)
            return await compare(session, kept, self._since_us, now_us(), self._only)

    async def _ask(self, engines: tuple[str, ...]) -> "list[Sample]":
        """Two samples of each engine, with a pause between; one, if nothing is to be waited for."""
        import asyncio

        from admin.sampling import CountsMissing, Sampler

        sampler = Sampler(self._settings, now_us)
        taken: list[Sample] = []
        try:
            for turn in range(1 if self._no_wait else 2):
                if turn:
                    await asyncio.sleep(PAUSE_SECONDS)
                for url in dict.fromkeys(engines):
                    try:
                        taken += await sampler.sample(url)
                    except CountsMissing as fault:
                        self.silent[url] = str(fault)
        finally:
            await sampler.close()
        return taken


def _show(request: Request, found: "list[Comparison]", silent: dict[str, str], tolerance: int) -> bool:
    """Prints it; whether all is well."""
    from admin import comparisons

    is_well = comparisons.passes(found, tolerance) and not silent
    shown = [comparisons.document(each, tolerance) for each in found]
    if request.as_json:
        faults = [{"backend": url, "reason": reason} for url, reason in silent.items()]
        document: dict[str, Any] = {"reconciled": is_well, "tolerance": tolerance}
        print_json(document | {"comparisons": shown, "silent_engines": faults})
        return is_well
    if shown:
        print_table([comparisons.row(each) for each in shown], COLUMNS)
    else:
        typer.echo("nothing to compare: no engine tells its counts, and the ledger has no calls", err=True)
    for line in comparisons.notes(found, tolerance):
        typer.echo(line, err=True)
    for url, reason in silent.items():
        typer.echo(f"{url} {reason}: it cannot be compared now", err=True)
    return is_well
