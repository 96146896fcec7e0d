"""OpenAI's usage and costs: what is asked, and the shapes of the answers.

What a page is asked is a pydantic model each, since each product has filters and groupings of its own. What
is answered is written down as typed dictionaries: ten thousand of them are a page, and nothing but the
encoder looks at each. A dimension that is not grouped by is null. Fields that OpenAI has for kinds of tokens
that an engine does not tell apart (audio, images, cache writes) are left out: unknown is not zero.
"""

from typing import Annotated, Any, Final, Generic, Literal, TypeVar

from pydantic import BaseModel, Field, WithJsonSchema
from typing_extensions import TypedDict

from ledger.buckets import BucketWidth

IDS_MAX: Final = 1_000
ID_CHARS_MAX: Final = 1_024
"""Of a model's name, the longest of them."""

LIMITS: Final = {BucketWidth.MINUTE: (60, 1440), BucketWidth.HOUR: (24, 168), BucketWidth.DAY: (7, 31)}
"""OpenAI's: how many buckets a page has unless told, and at most."""

COST_LIMITS: Final = (7, 180)

Id = Annotated[str, Field(min_length=1, max_length=ID_CHARS_MAX, pattern="^[^\x00]*$")]
Ids = Annotated[list[Id], Field(max_length=IDS_MAX)]
T = TypeVar("T")


class SpanQuery(BaseModel):
    """What every page is asked."""

    start_time: int = Field(ge=0, description="Unix seconds, inclusive", examples=[1793491200])
    end_time: int | None = Field(default=None, ge=0, description="Unix seconds, exclusive; now, unless given")
    limit: int | None = Field(
        default=None, ge=1, description="Buckets of a page. 1d: 7, at most 31; 1h: 24, 168; 1m: 60, 1440"
    )
    page: str | None = Field(default=None, description="`next_page` of the page before")
    project_ids: Ids | None = Field(default=None, description="Of these projects only")


class UsageQuery(SpanQuery):
    """What a page of usage is asked."""

    bucket_width: BucketWidth = Field(default=BucketWidth.DAY, description="In UTC")


class CallersQuery(UsageQuery):
    """Of a product that keys call."""

    user_ids: Ids | None = Field(default=None, description="Of keys of these users only")
    api_key_ids: Ids | None = Field(default=None, description="Of these keys only")


class ModelsQuery(CallersQuery):
    """Of a product that has models."""

    models: Ids | None = Field(default=None, description="Of these models only")


By = Literal["project_id", "user_id", "api_key_id", "model"]


class CompletionsQuery(ModelsQuery):
    """Usage of what generates text."""

    batch: bool | None = Field(default=None, description="There are no batch jobs: `true` finds nothing")
    group_by: list[Literal[By, "batch", "service_tier"]] = Field(default=[], max_length=20)


class GroupedQuery(ModelsQuery):
    """Usage of embeddings; of moderations, speech and transcriptions, too."""

    group_by: list[By] = Field(default=[], max_length=20)


class ImagesQuery(ModelsQuery):
    """Usage of images."""

    sources: list[Literal["image.generation", "image.edit", "image.variation"]] | None = None
    sizes: list[Literal["256x256", "512x512", "1024x1024", "1792x1792", "1024x1792"]] | None = None
    group_by: list[Literal[By, "size", "source"]] = Field(default=[], max_length=20)


class WebSearchQuery(ModelsQuery):
    """Usage of searches of the web."""

    context_levels: list[Literal["low", "medium", "high"]] | None = None
    group_by: list[Literal[By, "context_level"]] = Field(default=[], max_length=20)


class FileSearchQuery(CallersQuery):
    """Usage of searches of files."""

    vector_store_ids: Ids | None = None
    group_by: list[Literal["project_id", "user_id", "api_key_id", "vector_store_id"]] = Field(
        default=[], max_length=20
    )


class ProjectsQuery(UsageQuery):
    """Usage of what only projects are told apart of."""

    group_by: list[Literal["project_id"]] = Field(default=[], max_length=20)


class CostsQuery(SpanQuery):
    """What a page of costs is asked."""

    limit: int | None = Field(default=None, ge=1, le=COST_LIMITS[1], description="Days of a page; 7")
    bucket_width: Literal["1d"] = "1d"
    api_key_ids: Ids | None = Field(default=None, description="Of these keys only")
    group_by: list[Literal["project_id", "line_item", "api_key_id"]] = Field(default=[], max_length=20)


class CompletionsResult(TypedDict):
    """OpenAI's `organization.usage.completions.result`."""

    object: Literal["organization.usage.completions.result"]
    input_tokens: int
    input_cached_tokens: int
    input_uncached_tokens: int
    output_tokens: int
    num_model_requests: int
    project_id: str | None
    user_id: str | None
    api_key_id: str | None
    model: str | None
    batch: bool | None
    service_tier: str | None


class EmbeddingsResult(TypedDict):
    """OpenAI's `organization.usage.embeddings.result`."""

    object: Literal["organization.usage.embeddings.result"]
    input_tokens: int
    num_model_requests: int
    project_id: str | None
    user_id: str | None
    api_key_id: str | None
    model: str | None


class NoResult(TypedDict):
    """There is none of this product yet, and so no result."""


class Amount(TypedDict):
    """Money, to the last digit; `currency` in lower case."""

    value: Annotated[Any, WithJsonSchema({"type": "number"})]
    currency: str


class CostsResult(TypedDict):
    """OpenAI's `organization.costs.result`. `quantity` is told where grouped by line item."""

    object: Literal["organization.costs.result"]
    amount: Amount
    line_item: str | None
    project_id: str | None
    api_key_id: str | None
    quantity: int | None
    quantity_unit: Literal["tokens"] | None


class Bucket(TypedDict, Generic[T]):
    """What was used in a span of time, in Unix seconds; no results where nothing was."""

    object: Literal["bucket"]
    start_time: int
    end_time: int
    results: list[T]


class BucketPage(TypedDict, Generic[T]):
    """Buckets in the order of time; where there are more, `next_page` is what to ask for."""

    object: Literal["page"]
    data: list[Bucket[T]]
    has_more: bool
    next_page: str | None
