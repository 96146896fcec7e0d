"""/v1/organization/projects/{id}/rate_limits: how fast a project may call each model, in OpenAI's shapes.

One row for each model that engines serve or that the project has such a limit for. A row is up to three
limits of the project and the model: requests and tokens by the minute, requests by the day. OpenAI's schema
asks for a number where there is no limit: that is UNLIMITED, and setting it takes a limit away.
"""

from typing import Annotated, Literal, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from admin.actors import Actor, may
from admin.api.object_lists import Before, Listed, ListQuery, ObjectList
from admin.api.organization import NotHere
from admin.auth import Here
from admin.within import Organization, project_in
from ledger import model_rates
from ledger.errors import NotFound, Refused
from ledger.model_rates import ModelRates
from ledger.object_pages import PageWish
from ledger.rate_limit_ids import id_of, model_of
from ledger.roles import Permission
from ledger.states import ProjectState

router = APIRouter(prefix="/projects/{project_id}/rate_limits", tags=["organization: rate limits"])

Reading = Annotated[Actor, may(Permission.LIMITS_READ)]
Writing = Annotated[Actor, may(Permission.PROJECTS_WRITE)]
"""They are the bounds of the project itself: nothing for who is limited to it."""

UNLIMITED = 2**53 - 1
"""The largest integer that every reader of JSON keeps exactly."""

Rate = Annotated[int | None, Field(strict=True, ge=1, le=UNLIMITED)]
DailyRate = Annotated[int | None, Field(strict=True, ge=0, le=UNLIMITED)]


class ProjectRateLimit(Listed):
    """OpenAI's `project.rate_limit`; 9007199254740991 is no limit."""

    object: Literal["project.rate_limit"] = "project.rate_limit"
    model: str
    max_requests_per_1_minute: int
    max_tokens_per_1_minute: int
    max_requests_per_1_day: Annotated[int | None, Field(description="Only where there is one")] = None

    @classmethod
    def of(cls, rates: ModelRates) -> Self:
        """The view of a model's rates."""
        return cls(
            id=id_of(rates.model),
            model=rates.model,
            max_requests_per_1_minute=_shown(rates.requests_per_minute),
            max_tokens_per_1_minute=_shown(rates.tokens_per_minute),
            max_requests_per_1_day=rates.requests_per_day,
        )


class RateLimitChange(BaseModel):
    """What is to change; what is left out, or null, stays. 9007199254740991 takes a limit away."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"max_requests_per_1_minute": 600, "max_tokens_per_1_minute": 150_000}},
    )

    max_requests_per_1_minute: Rate = None
    max_tokens_per_1_minute: Rate = None
    max_requests_per_1_day: DailyRate = None
    max_images_per_1_minute: NotHere = None
    max_audio_megabytes_per_1_minute: NotHere = None
    batch_1_day_max_input_tokens: NotHere = None

    def rates(self) -> dict[str, int | None]:
        """What is told, by the ledger's names; None takes away."""
        told = {
            "requests_per_minute": self.max_requests_per_1_minute,
            "tokens_per_minute": self.max_tokens_per_1_minute,
            "requests_per_day": self.max_requests_per_1_day,
        }
        return {name: None if rate == UNLIMITED else rate for name, rate in told.items() if rate is not None}


class RateLimitQuery(ListQuery):
    """How rate limits are asked for."""

    limit: Annotated[int, Field(ge=1, le=100)] = 100
    before: Before = None

    def wish(self) -> PageWish:
        """The page that is meant, by models. Raises Refused."""
        return PageWish(self.limit, _model("after", self.after), _model("before", self.before))


@router.get("", response_model_exclude_none=True)
async def list_rate_limits(
    plane: Here,
    actor: Reading,
    project_id: str,
    query: Annotated[RateLimitQuery, Query()],
    organization: Organization = None,
) -> ObjectList[ProjectRateLimit]:
    """List a project's rate limits, by the model's name."""
    served = await plane.served.names()
    async with plane.database.read() as session:
        project = await project_in(session, actor, project_id, organization)
        page = await model_rates.read(session, project.id, sorted(served), query.wish())
    return ObjectList.of([ProjectRateLimit.of(rates) for rates in page.rows], has_more=page.has_more)


@router.post("/{rate_limit_id}", response_model_exclude_none=True)
async def update_rate_limit(
    plane: Here,
    actor: Writing,
    project_id: str,
    rate_limit_id: str,
    body: RateLimitChange,
    organization: Organization = None,
) -> ProjectRateLimit:
    """Change how fast a project may call a model, within a second on every worker."""
    served = await plane.served.names()
    async with plane.database.write() as session:
        project = await project_in(session, actor, project_id, organization)
        model = model_of(rate_limit_id)
        if model is None:
            raise NotFound("rate limit", rate_limit_id)
        before = (await model_rates.rates_of(session, project.id, [model]))[model]
        if model not in served and before == ModelRates(model):
            raise NotFound("rate limit", rate_limit_id)
        if project.state == ProjectState.ARCHIVED:
            raise Refused(f"project {project.id} is archived, and stays as it is")
        await model_rates.change(session, project.id, model, body.rates(), plane.now_us(), by=actor)
        after = await model_rates.rates_of(session, project.id, [model])
    return ProjectRateLimit.of(after[model])


def _shown(rate: int | None) -> int:
    return UNLIMITED if rate is None else min(rate, UNLIMITED)


def _model(param: str, rate_limit_id: str | None) -> str | None:
    """The model that a page begins after or ends before. Raises Refused."""
    if rate_limit_id is None:
        return None
    model = model_of(rate_limit_id)
    if model is None:
        raise Refused(f"{rate_limit_id[:200]!r} is no id of a rate limit", param=param)
    return model
