"""The control plane's app: `create_app(settings)`.

Composes the resources; owns the database for the app's life. /healthz says that the process lives, /readyz
that the ledger answers. /docs works offline: its assets ship in a wheel.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from swagger_ui_bundle import swagger_ui_path

from admin import errors, openapi_errors
from admin.api import (
    admin_api_keys,
    admin_keys,
    audit_events,
    audit_logs,
    backends,
    keys,
    limits,
    model_permissions,
    organization,
    organization_invites,
    organization_roles,
    organization_usage,
    organization_users,
    prices,
    project_api_keys,
    project_users,
    rate_limits,
    reservations,
    service_accounts,
    session,
    spend_alerts,
    spend_limits,
    tenants,
    usage,
    user_sessions,
    users,
)
from admin.api import (
    settings as tenant_settings,
)
from admin.api.responses import ERRORS
from admin.auth import Here, close_plane, make_plane
from admin.conditional import Conditional
from admin.config import AdminSettings
from admin.openapi30 import downgrade
from admin.openapi_examples import with_examples
from admin.openapi_headers import with_conditions
from admin.openapi_tags import DESCRIPTION, TAGS
from admin.requests import Requests
from ledger.errors import DatabaseFault

TITLE = "metergate control plane"

ORGANIZATION = (
    organization,
    admin_api_keys,
    service_accounts,
    project_api_keys,
    rate_limits,
    model_permissions,
    spend_limits,
    spend_alerts,
    organization_users,
    organization_invites,
    organization_roles,
    project_users,
    audit_logs,
    organization_usage,
)
"""OpenAI's Administration API, a module for each resource."""


class Lives(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """The ledger answers, too."""

    status: Literal["ready"] = "ready"


def create_app(settings: AdminSettings) -> FastAPI:
    """The app; it connects to the ledger on first use. Each start goes by `app.state.settings`."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        plane = make_plane(app.state.settings)
        app.state.plane = plane
        try:
            yield
        finally:
            await close_plane(plane)

    app = FastAPI(title=TITLE, version=_version(), lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.settings = settings
    errors.install(app)
    app.add_middleware(Conditional)
    app.add_middleware(Requests)  # the outermost: it reads the body
    native = (
        tenants,
        tenant_settings,
        keys,
        admin_keys,
        limits,
        prices,
        usage,
        session,
        users,
        user_sessions,
        audit_events,
        reservations,
        backends,
    )
    for router in (module.router for module in native):
        app.include_router(
            router,
            prefix="/admin/v1",
            responses=ERRORS,
            generate_unique_id_function=lambda route: route.name,
        )
    for module in ORGANIZATION:
        app.include_router(
            module.router,
            prefix="/v1/organization",
            responses=ERRORS,
            generate_unique_id_function=lambda route: f"organization_{route.name}",
        )
    _add_health(app)
    _add_docs(app)
    return app


def _add_health(app: FastAPI) -> None:
    @app.get("/healthz", tags=["health"], operation_id="healthz")
    async def healthz() -> Lives:
        """The process lives."""
        return Lives()

    @app.get(
        "/readyz",
        tags=["health"],
        operation_id="readyz",
        response_model=Ready,
        responses={503: {"model": errors.ErrorBody, **openapi_errors.NOT_READY}},
    )
    async def readyz(plane: Here) -> JSONResponse | Ready:
        """The ledger answers, and its schema fits."""
        try:
            await plane.database.check()
        except DatabaseFault:
            return errors.answer(503, "The ledger does not answer.", kind="server_error", code="not_ready")
        return Ready()

    @app.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        """Nothing to see here yet but the documentation."""
        return RedirectResponse("/docs")


def _add_docs(app: FastAPI) -> None:
    assets = StaticFiles(directory=swagger_ui_path)
    app.mount("/docs/assets", assets, name="docs-assets")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        """The interactive documentation."""
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=TITLE,
            swagger_js_url="/docs/assets/swagger-ui-bundle.js",
            swagger_css_url="/docs/assets/swagger-ui.css",
            swagger_favicon_url="/docs/assets/favicon-32x32.png",
            swagger_ui_parameters={"validatorUrl": None},  # else the page asks another host for a badge
        )

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                description=DESCRIPTION,
                tags=[{"name": name, "description": says} for name, says in TAGS.items()],
                routes=app.routes,
            )
            app.openapi_schema = with_examples(downgrade(with_conditions(_without_422(document))))
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _without_422(document: dict[str, Any]) -> dict[str, Any]:
    """FastAPI lists its own answer to a wrong request; ours is a 400 in OpenAI's shape."""
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
    return document


def _version() -> str:
    try:
        return version("metergate")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
