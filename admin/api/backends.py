"""/admin/v1/backends: which engines there are, for the operator.

Those that this host's settings or its last start name, and those that any host's background worker has asked.
When one last answered is known from those samples alone: the control plane asks no engine itself.
"""

from typing import Annotated, cast

from fastapi import APIRouter, Request
from pydantic import Field

from admin.actors import Actor, may
from admin.api.responses import Listing, Wanted
from admin.auth import Here
from admin.config import AdminSettings
from admin.data_folder import kept_engines
from admin.schemas import Instant, Resource
from admin.times import format_instant
from ledger.places import Page, read_place, write_place
from ledger.reconciliation.newest import EngineNews, newest_samples
from ledger.roles import Permission

router = APIRouter(tags=["backends"])


class BackendModel(Resource):
    """A model of an engine, by the engine's own name of it."""

    model: Annotated[str, Field(examples=["llama-3.1-8b"])]
    last_answered_at: Instant
    started_at: Annotated[Instant | None, Field(description="The engine's start, by its own clock")]
    in_flight: Annotated[int, Field(description="Calls at work then")]


class BackendView(Resource):
    """An engine."""

    url: Annotated[str, Field(examples=["http://127.0.0.1:8000"])]
    is_served_here: Annotated[bool, Field(description="This host's settings name it, or its last start")]
    last_answered_at: Annotated[
        Instant | None, Field(description="To a background worker; null: to none in the last days")
    ]
    models: list[BackendModel]


@router.get("/backends")
async def list_backends(
    request: Request, plane: Here, actor: Annotated[Actor, may(Permission.BACKENDS_READ)], wanted: Wanted
) -> Listing[BackendView]:
    """List the engines by URL: their models, and when they last answered."""
    settings = cast(AdminSettings, request.app.state.settings)
    here = {*settings.engines, *kept_engines(settings.data_dir)}
    async with plane.database.read() as session:
        news = await newest_samples(session)
    urls = sorted(here.union(one.backend for one in news))
    if wanted.after is not None:
        (after,) = read_place(wanted.after, (str,))
        urls = [url for url in urls if url > str(after)]
    page = urls[: wanted.limit]
    follows = write_place([page[-1]]) if len(urls) > len(page) else None
    return Listing[BackendView].of(
        Page(page, follows),
        lambda url: _view(url, url in here, [one for one in news if one.backend == url]),
    )


def _view(url: str, is_served_here: bool, news: list[EngineNews]) -> BackendView:
    return BackendView(
        url=url,
        is_served_here=is_served_here,
        last_answered_at=format_instant(max(one.at_us for one in news)) if news else None,
        models=[
            BackendModel(
                model=one.model,
                last_answered_at=format_instant(one.at_us),
                started_at=format_instant(one.engine_started_us) if one.engine_started_us else None,
                in_flight=one.in_flight,
            )
            for one in news
        ],
    )
