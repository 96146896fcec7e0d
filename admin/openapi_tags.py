"""What the control plane's OpenAPI document says of itself, and of each group of its operations. Pure."""

from typing import Final

DESCRIPTION: Final = """\
Tenants, projects, keys, limits, prices, people, usage and the audit log of metergate.

Native resources are under `/admin/v1`, OpenAI's Administration API, in its own shapes, under
`/v1/organization`. An organization is a tenant. Programs ask with an admin key, people with a session. A
tenant's key acts on its own tenant; for the operator's, and for people in several tenants, the header
`OpenAI-Organization` says on which. Failures are `{"error": {"message", "type", "param", "code"}}`.
"""

TAGS: Final = {
    "tenants": "Who pays: making, blocking, settings. Mostly the operator's.",
    "projects": "The parts of a tenant, with keys of their own.",
    "keys": "API keys of the data plane: restrictions, rotation with grace, blocking.",
    "admin keys": "Keys of this API, with a role, and perhaps for one project alone.",
    "users": "People, across tenants.",
    "limits": "Limits of every kind, how much is left of them, and what is reserved now.",
    "prices": "What tokens and requests cost, from when on.",
    "usage": "The totals of a month.",
    "backends": "The engines, as far as they are known.",
    "sessions": "People logging in and out, and their passwords.",
    "audit": "What was changed, by whom.",
    "organization: projects": "OpenAI's projects.",
    "organization: admin API keys": "OpenAI's admin API keys.",
    "organization: service accounts": "OpenAI's service accounts of a project, and their keys.",
    "organization: project API keys": "OpenAI's API keys of a project.",
    "organization: rate limits": "OpenAI's rate limits of a project, by model.",
    "organization: model permissions": "OpenAI's model permissions of a project.",
    "organization: spend limits": "OpenAI's spend limits, of the organization and of projects.",
    "organization: spend alerts": "OpenAI's spend alerts, by e-mail and by webhook.",
    "organization: users": "OpenAI's users of the organization.",
    "organization: invites": "OpenAI's invites.",
    "organization: roles": "OpenAI's roles, and who has them.",
    "organization: project users": "OpenAI's users of a project.",
    "organization: audit log": "OpenAI's audit log.",
    "organization: usage and costs": "OpenAI's usage and costs, in buckets of time.",
    "health": "For load balancers: no key is asked for.",
}
"""What each group is about, in the order in which /docs shows them."""
