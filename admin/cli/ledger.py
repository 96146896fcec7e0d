"""`metergate ledger`: does the book agree with itself?"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from admin.cli.command import Request, common, now_us, print_json

if TYPE_CHECKING:
    from ledger.audit_chain import Head
    from ledger.database import Database
    from ledger.verification.findings import Findings

app = typer.Typer(help="The ledger as a whole.", no_args_is_help=True)


@app.command()
@common
def verify(
    request: Request,
    month: Annotated[
        str | None,
        typer.Option(
            "--month", metavar="YYYY-MM", help="Only the calls of a month, in UTC (all).", show_default=False
        ),
    ] = None,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Do not wait for what is settled and not yet posted.")
    ] = False,
    audit_head: Annotated[
        str | None,
        typer.Option(
            "--audit-head",
            metavar="HEAD",
            help="The audit log's head as an earlier run gave it: all up to it has to be there unchanged.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Check that the book agrees with itself: ids, rows, prices, amounts, hourly sums, limits, leases,
    and the audit log's chain. Exit status 1 where it does not.
    """
    from admin.cli.reach import with_database
    from ledger.audit import head
    from ledger.audit_chain import Head
    from ledger.periods import month_span
    from ledger.settled import wait_posted
    from ledger.verification.verify import verify as look_at

    settings = request.settings()
    span = None if month is None else month_span(month)
    noted = None if audit_head is None else Head.parse(audit_head)

    async def look(database: "Database") -> "tuple[str, Findings, Head]":
        if not no_wait:
            await wait_posted(settings.data_dir, database, currency=settings.currency)
        async with database.read() as session:
            findings = await look_at(session, now_us(), span, noted)
            return database.shown_url, findings, await head(session)

    where, findings, end = with_database(settings, look)
    document = _document(where, month, findings, end)
    if request.as_json:
        print_json(document)
    else:
        _print(document)
    if not findings.is_clean:
        raise typer.Exit(1)


@app.command()
@common
def repost(request: Request) -> None:
    """Post again what the journals of this data folder keep, into a ledger that was restored from a backup;
    what it has already stays as it is. Stop metergate first.
    """
    from admin.cli.reach import with_database
    from ledger.repost import repost as post_again

    settings = request.settings()
    result = with_database(
        settings, lambda database: post_again(database, settings.data_dir, settings.currency)
    )
    request.show(
        {"added": result.inserted, "known": result.duplicates, "unpriced": result.unpriced},
        note="Now `metergate ledger verify`.",
    )


def _document(where: str, month: str | None, findings: "Findings", end: "Head") -> dict[str, Any]:
    from ledger.verification.findings import ADVICE, MEANING

    return {
        "database": where,
        "month": month,
        "audit_head": str(end),
        "state": "clean" if findings.is_clean else "faults",
        "checks": [
            {
                "check": check.value,
                "promise": MEANING[check],
                "looked_at": result.looked_at,
                "faults": result.faults,
                "shown": [{"id": fault.id, "what": fault.what} for fault in result.shown],
                "advice": ADVICE[check] if result.faults else None,
            }
            for check, result in findings.results.items()
        ],
        "notices": [
            {
                "notice": notice.value,
                "count": result.faults,
                "shown": [{"id": fault.id, "what": fault.what} for fault in result.shown],
            }
            for notice, result in findings.notices.items()
            if result.faults
        ],
    }


def _print(document: dict[str, Any]) -> None:
    for result in document["checks"]:
        faults = result["faults"]
        state = "ok" if not faults else "1 fault" if faults == 1 else f"{faults} faults"
        typer.echo(f"{result['check']:<12} {result['looked_at']:>12} looked at   {state}")
        _print_shown(result["shown"], faults)
        if faults:
            typer.echo(f"    do: {result['advice']}")
    for notice in document["notices"]:
        typer.echo(f"notice: {notice['notice']}, {notice['count']} times")
        _print_shown(notice["shown"], notice["count"])
    typer.echo(f"audit head: {document['audit_head']}")
    typer.echo(document["state"])


def _print_shown(shown: list[dict[str, str]], count: int) -> None:
    for fault in shown:
        typer.echo(f"    {fault['id']}: {fault['what']}")
    if count > len(shown):
        typer.echo(f"    and {count - len(shown)} more")
