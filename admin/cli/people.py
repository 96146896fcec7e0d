"""How commands name a user: by an e-mail address or by an id."""

from typing import Annotated

import typer

from admin.cli.command import Fault, Request

WHO = "An e-mail address, or an id: user-..."
Who = Annotated[str, typer.Argument(metavar="USER", help=WHO, show_default=False)]


def id_of(request: Request, who: str) -> str:
    """The id. Raises Fault for an address that is nobody's, as far as can be seen."""
    if "@" not in who:
        return who
    from ledger.emails import parse_email

    for user in request.api.every("users", email=parse_email(who)):
        return str(user["id"])
    raise Fault(f"no user with the e-mail address {who!r}")
