"""Which methods a path has: for the `Allow` of a 405.

A path is several routes, one for each method; the router's own 405 knows the first of them alone.
"""

import re
from functools import cached_property

from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import compile_path

_OF_FILES = "GET, HEAD"
"""What is no route of ours are the files of the documentation."""


class AllowedMethods:
    """The methods of an app's paths, looked up once it is complete."""

    def __init__(self, app: FastAPI) -> None:
        """`app` may still be without its routes."""
        self._app = app

    def of(self, path: str) -> str:
        """As `Allow` has them."""
        found = [methods for pattern, methods in self._routes if pattern.match(path)]
        return ", ".join(sorted(set().union(*found))) or _OF_FILES

    @cached_property
    def _routes(self) -> list[tuple[re.Pattern[str], set[str]]]:
        return [
            (compile_path(str(route.path))[0], set(route.methods))
            for route in iter_route_contexts(self._app.routes)
            if isinstance(route.original_route, APIRoute) and route.methods
        ]
