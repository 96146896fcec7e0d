"""The options that say what a project or key may do, and what is meant by them."""

from typing import Annotated, Any

import typer

AllowModel = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-model",
        metavar="MODEL",
        help="Only this model may be called; `*` stands for any characters. Repeatable.",
        show_default=False,
    ),
]
DenyModel = Annotated[
    list[str] | None,
    typer.Option(
        "--deny-model",
        metavar="MODEL",
        help="Every model but this may be called; `*` as above. Repeatable.",
        show_default=False,
    ),
]
AnyModel = Annotated[bool, typer.Option("--any-model", help="Every model may be called.")]
ScopeNames = Annotated[
    list[str] | None,
    typer.Option(
        "--scope",
        metavar="NAME",
        help="Only for this: chat.completions, completions, embeddings, generate, models. Repeatable.",
        show_default=False,
    ),
]
AnyScope = Annotated[bool, typer.Option("--any-scope", help="For every endpoint.")]
Cidrs = Annotated[
    list[str] | None,
    typer.Option(
        "--cidr",
        metavar="NETWORK",
        help="Only from this address or network, such as 192.0.2.0/24. Repeatable.",
        show_default=False,
    ),
]
AnyAddress = Annotated[bool, typer.Option("--any-address", help="From everywhere.")]


def models_of(allow: list[str] | None, deny: list[str] | None) -> dict[str, Any] | None:
    """The permissions that are meant, as the API takes them; None where none are said. Status 2 for both."""
    one_of("--allow-model", allow, "--deny-model", deny)
    if allow:
        return {"mode": "allow_list", "model_ids": allow}
    return {"mode": "deny_list", "model_ids": deny} if deny else None


def scopes_of(names: list[str] | None) -> list[str] | None:
    """The scopes that are meant. Raises Refused for a name that is none, which says those there are."""
    from ledger.permissions import KeyScopes

    return list(KeyScopes.parse(names).scopes) if names else None


def one_of(*options: object) -> None:
    """Given names and values in turn: status 2 where more than one has a value."""
    given = [str(name) for name, value in zip(options[::2], options[1::2], strict=True) if value]
    if len(given) > 1:
        raise typer.BadParameter(f"give only one of {' and '.join(given)}")
