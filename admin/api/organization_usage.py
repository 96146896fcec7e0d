"""/v1/organization/usage/* and /costs: what a tenant used and what it cost, as OpenAI tells it.

One read of the rollups a page, within a tenant; who is limited to a project sees that project alone.
Products that metergate has not have pages of empty buckets, so that a tool which adds up all of them works.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Query, Response
from fastapi.exceptions import RequestValidationError

from admin.actors import Actor, may
from admin.auth import Here, Plane
from admin.brackets import BracketsRoute
from admin.usage_results import (
    LINE_ITEM,
    Results,
    completions_results,
    costs_results,
    embeddings_results,
)
from admin.usage_schemas import (
    COST_LIMITS,
    LIMITS,
    BucketPage,
    CallersQuery,
    CompletionsQuery,
    CompletionsResult,
    CostsQuery,
    CostsResult,
    EmbeddingsResult,
    FileSearchQuery,
    GroupedQuery,
    ImagesQuery,
    NoResult,
    ProjectsQuery,
    SpanQuery,
    UsageQuery,
    WebSearchQuery,
)
from admin.usage_walk import US_PER_SECOND, Walk, seal_of
from admin.within import Organization, organization_of
from ledger.bucket_reports import CallFilter, cost_days, priced_versions, usage_buckets
from ledger.roles import Permission

router = APIRouter(tags=["organization: usage and costs"], route_class=BracketsRoute)

Reading = Annotated[Actor, may(Permission.USAGE_READ)]
ReadingCosts = Annotated[Actor, may(Permission.COSTS_READ)]

DIMENSIONS: Final = ("project_id", "user_id", "api_key_id", "model")
"""What the book itself can group by."""

LINES: Final = 3
"""Line items of what one price rated, most often: input, cached input, output."""

EMPTY: Final[dict[str, type[UsageQuery]]] = {
    "audio_speeches": GroupedQuery,
    "audio_transcriptions": GroupedQuery,
    "code_interpreter_sessions": ProjectsQuery,
    "file_search_calls": FileSearchQuery,
    "images": ImagesQuery,
    "moderations": GroupedQuery,
    "vector_stores": ProjectsQuery,
    "web_search_calls": WebSearchQuery,
}
"""OpenAI's products that there are none of here."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A page that is asked for: whose it is, its way, and its buckets, if any."""

    tenant_id: str
    walk: Walk
    spans: list[tuple[int, int]]
    seal: bytes

    def filter(self, actor: Actor, query: SpanQuery, *, embeddings: bool | None = None) -> CallFilter | None:
        """The calls that it is about; None where there can be none."""
        project_ids = query.project_ids
        if actor.project_id is not None:
            project_ids = [one for one in project_ids or [actor.project_id] if one == actor.project_id]
        if not self.spans or project_ids == [] or getattr(query, "batch", None):
            return None
        return CallFilter(
            self.tenant_id,
            self.walk.from_us,
            self.walk.reads_until(self.spans),
            project_ids,
            getattr(query, "api_key_ids", None),
            getattr(query, "models", None),
            embeddings,
            query.user_ids if isinstance(query, CallersQuery) else None,
        )

    def answer(self, results: Results = MappingProxyType({}), until_us: int | None = None) -> Response:
        """The page of these results; where a read ended early, no bucket of what is behind."""
        spans = [span for span in self.spans if until_us is None or span[1] <= until_us]
        next_us = spans[-1][1] if spans else self.walk.end_us
        has_more = next_us < self.walk.end_us
        page = {
            "object": "page",
            "data": [
                {
                    "object": "bucket",
                    "start_time": begin_us // US_PER_SECOND,
                    "end_time": end_us // US_PER_SECOND,
                    "results": results.get(begin_us - begin_us % self.walk.width.us, []),
                }
                for begin_us, end_us in spans
            ],
            "has_more": has_more,
            "next_page": self.walk.cursor(next_us, self.seal) if has_more else None,
        }
        return Response(msgspec.json.encode(page), media_type="application/json")


@router.get("/usage/completions", response_model=BucketPage[CompletionsResult])
async def usage_completions(
    plane: Here,
    actor: Reading,
    query: Annotated[CompletionsQuery, Query()],
    organization: Organization = None,
) -> Response:
    """Tokens and calls of all that generates text: chat, completions, generate."""
    return await _usage(plane, actor, query, organization, embeddings=False)


@router.get("/usage/embeddings", response_model=BucketPage[EmbeddingsResult])
async def usage_embeddings(
    plane: Here,
    actor: Reading,
    query: Annotated[GroupedQuery, Query()],
    organization: Organization = None,
) -> Response:
    """Tokens and calls of embeddings."""
    return await _usage(plane, actor, query, organization, embeddings=True)


@router.get("/costs", response_model=BucketPage[CostsResult])
async def costs(
    plane: Here,
    actor: ReadingCosts,
    query: Annotated[CostsQuery, Query()],
    organization: Organization = None,
) -> Response:
    """What the calls of each UTC day cost, exact; each currency by itself."""
    by = [name for name in DIMENSIONS if name in query.group_by]
    walk = Walk.begin_days(query.start_time, query.end_time, plane.now_us())
    limit = _limit(query, *COST_LIMITS)
    async with plane.database.read() as session:
        tenant_id = await organization_of(session, actor, organization)
        asked = _asked(plane, tenant_id, query, walk, limit, "costs")
        wanted = asked.filter(actor, query)
        if wanted is None:
            return asked.answer()
        read = await cost_days(session, wanted, by, lines=LINES if LINE_ITEM in query.group_by else 1)
        versions = await priced_versions(session, {str(group[-1]) for _, group, _ in read.groups})
    return asked.answer(costs_results(read.groups, versions, by, query.group_by), read.until_us)


async def _usage(
    plane: Plane,
    actor: Actor,
    query: CompletionsQuery | GroupedQuery,
    organization: str | None,
    *,
    embeddings: bool,
) -> Response:
    by = [name for name in DIMENSIONS if name in query.group_by]
    async with plane.database.read() as session:
        tenant_id = await organization_of(session, actor, organization)
        asked = _asked_usage(plane, tenant_id, query, "embeddings" if embeddings else "completions")
        wanted = asked.filter(actor, query, embeddings=embeddings)
        if wanted is None:
            return asked.answer()
        read = await usage_buckets(session, wanted, query.bucket_width, by)
    if embeddings:
        return asked.answer(embeddings_results(read.groups, by), read.until_us)
    return asked.answer(completions_results(read.groups, by, query.group_by), read.until_us)


def _add_empty(product: str, kind: type[UsageQuery]) -> None:
    async def usage(
        plane: Here, actor: Reading, query: UsageQuery, organization: Organization = None
    ) -> Response:
        async with plane.database.read() as session:
            tenant_id = await organization_of(session, actor, organization)
        return _asked_usage(plane, tenant_id, query, product).answer()

    usage.__annotations__["query"] = Annotated[kind, Query()]
    router.add_api_route(
        f"/usage/{product}",
        usage,
        name=f"usage_{product}",
        response_model=BucketPage[NoResult],
        description="There is no such product here: every bucket is empty.",
    )


for _product, _kind in EMPTY.items():
    _add_empty(_product, _kind)


def _asked_usage(plane: Plane, tenant_id: str, query: UsageQuery, product: str) -> _Asked:
    walk = Walk.begin(query.start_time, query.end_time, query.bucket_width, plane.now_us())
    return _asked(plane, tenant_id, query, walk, _limit(query, *LIMITS[query.bucket_width]), product)


def _asked(plane: Plane, tenant_id: str, query: SpanQuery, walk: Walk, limit: int, product: str) -> _Asked:
    """Raises RequestValidationError for a span that ends before it begins, and for another's cursor."""
    if query.end_time is not None and query.end_time <= query.start_time:
        raise _wrong("end_time", "is not after start_time")
    question = product + query.model_dump_json(exclude={"limit", "page"})
    seal = seal_of(plane.pepper, tenant_id, question)
    if query.page is not None:
        resumed = walk.resume(query.page, seal)
        if resumed is None:
            raise _wrong("page", "is no next_page of this query")
        walk = resumed
    return _Asked(tenant_id, walk, walk.spans(limit), seal)


def _limit(query: SpanQuery, unless_told: int, most: int) -> int:
    """Raises RequestValidationError."""
    if query.limit is not None and query.limit > most:
        raise _wrong("limit", f"is at most {most} for buckets of this width")
    return unless_told if query.limit is None else query.limit


def _wrong(name: str, what: str) -> RequestValidationError:
    return RequestValidationError([{"loc": ("query", name), "msg": what, "type": "value_error"}])
