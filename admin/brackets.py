"""Arrays in a query, however a client writes them: `ids[]=a&ids[]=b` is read as `ids=a&ids=b`.

OpenAI's own clients write brackets, its documentation shows both.
"""

import re
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute

_BRACKETS: Final = re.compile(rb"(?:^|(?<=&))([^=&]+?)(?:\[\]|%5[Bb]%5[Dd])(?=[=&]|$)")
"""At the end of a name: never in a value."""


def unbracketed(query: bytes) -> bytes:
    """The query string with plain names."""
    return _BRACKETS.sub(rb"\1", query)


class BracketsRoute(APIRoute):
    """A route that takes both."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Before anything is read of the query."""
        handle = super().get_route_handler()

        async def handle_plain(request: Request) -> Response:
            request.scope["query_string"] = unbracketed(request.scope["query_string"])
            return await handle(request)

        return handle_plain
