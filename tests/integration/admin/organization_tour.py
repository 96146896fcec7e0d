"""A walk through OpenAI's Administration API with the official SDK, of whichever version runs this.

A program by itself, since two major versions of the SDK cannot be in one environment: it is told where, and
prints every answer with its operation, for the test to hold against the published schemas. It asserts by
itself what one answer says about another. Needs nothing but `openai`.
"""

import json
import sys
from typing import Any

import openai

MODEL = "org/model-a"


class Tour:
    """The answers so far: the operation as the document names it, and the JSON."""

    def __init__(self, base_url: str, admin_key: str, organization: str) -> None:
        self.client = openai.OpenAI(
            base_url=base_url,
            admin_api_key=admin_key,
            api_key="unused",
            organization=organization,
            max_retries=0,
        )
        self.admin = self.client.admin.organization
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def saw(self, operation: str, answer: Any) -> Any:
        self.seen.append((operation, answer.to_dict(mode="json")))
        return answer

    def page(self, operation: str, page: Any) -> Any:
        self.seen.append((operation, json.loads(page.model_dump_json(exclude_unset=True))))
        return page

    def whole(self) -> None:
        project = self.projects()
        self.service_accounts(project)
        self.admin_keys()
        self.rate_limits(project)
        self.model_permissions(project)
        self.spend_limits(project)
        self.spend_alerts(project)
        archived = self.saw(
            "POST /organization/projects/{project_id}/archive", self.admin.projects.archive(project)
        )
        assert archived.status == "archived" and archived.archived_at >= archived.created_at

    def projects(self) -> str:
        projects = self.admin.projects
        made = self.saw("POST /organization/projects", projects.create(name="Tour"))
        found = self.saw("GET /organization/projects/{project_id}", projects.retrieve(made.id))
        assert found.name == "Tour" and found.archived_at is None
        renamed = self.saw(
            "POST /organization/projects/{project_id}", projects.update(made.id, name="Tour of 2")
        )
        assert renamed.name == "Tour of 2"
        listed = self.page("GET /organization/projects", projects.list(limit=1))
        assert len(listed.data) == 1
        return str(made.id)

    def service_accounts(self, project: str) -> None:
        accounts, keys = self.admin.projects.service_accounts, self.admin.projects.api_keys
        path = "/organization/projects/{project_id}/service_accounts"
        made = self.saw(f"POST {path}", accounts.create(project, name="Job"))
        assert made.api_key.value.startswith("sk-mg-")
        one = f"{path}/{{service_account_id}}"
        changed = self.saw(
            f"POST {one}",
            accounts.update(made.id, project_id=project, name="Night job", role="owner"),
        )
        assert (changed.name, changed.role) == ("Night job", "owner")
        assert self.saw(f"GET {one}", accounts.retrieve(made.id, project_id=project)).id == made.id
        more = self.saw(
            f"POST {one}/api_keys",
            accounts.api_keys.create(made.id, project_id=project, name="Second", scopes=["embeddings"]),
        )
        self.page(f"GET {path}", accounts.list(project))
        self.keys(project, made, more)
        self.saw(f"DELETE {one}", accounts.delete(made.id, project_id=project))
        assert list(keys.list(project)) == [] and list(accounts.list(project)) == []

    def keys(self, project: str, account: Any, second: Any) -> None:
        keys = self.admin.projects.api_keys
        path = "/organization/projects/{project_id}/api_keys"
        listed = self.page(f"GET {path}", keys.list(project, owner_project_access="active"))
        assert [key.id for key in listed] == [account.api_key.id, second.id]
        assert list(keys.list(project, owner_project_access="inactive")) == []
        found = self.saw(f"GET {path}/{{api_key_id}}", keys.retrieve(second.id, project_id=project))
        assert found.owner.type == "service_account"
        assert found.owner.service_account.id == account.id
        assert found.redacted_value != second.value and found.last_used_at is None
        gone = keys.delete(second.id, project_id=project)
        self.saw(f"DELETE {path}/{{api_key_id}}", gone)

    def admin_keys(self) -> None:
        keys = self.admin.admin_api_keys
        made = self.saw(
            "POST /organization/admin_api_keys", keys.create(name="Finance", expires_in_seconds=3600)
        )
        assert made.value.startswith("sk-admin-") and made.expires_at == made.created_at + 3600
        found = self.saw("GET /organization/admin_api_keys/{key_id}", keys.retrieve(made.id))
        assert found.owner.role == "owner"
        listed = self.page("GET /organization/admin_api_keys", keys.list(order="desc", limit=5))
        assert listed.data[0].id == made.id
        self.saw("DELETE /organization/admin_api_keys/{key_id}", keys.delete(made.id))
        assert made.id not in [key.id for key in keys.list()]

    def rate_limits(self, project: str) -> None:
        limits = self.admin.projects.rate_limits
        path = "/organization/projects/{project_id}/rate_limits"
        (row,) = self.page(f"GET {path}", limits.list_rate_limits(project)).data
        assert row.model == MODEL
        changed = self.saw(
            f"POST {path}/{{rate_limit_id}}",
            limits.update_rate_limit(
                row.id, project_id=project, max_requests_per_1_minute=600, max_requests_per_1_day=5000
            ),
        )
        assert changed.max_requests_per_1_minute == 600 and changed.max_requests_per_1_day == 5000
        (again,) = limits.list_rate_limits(project).data
        assert again == changed and again.max_tokens_per_1_minute == row.max_tokens_per_1_minute

    def model_permissions(self, project: str) -> None:
        permissions = self.admin.projects.model_permissions
        path = "/organization/projects/{project_id}/model_permissions"
        assert self.saw(f"GET {path}", permissions.retrieve(project)).model_ids == []
        told = permissions.update(project, mode="allow_list", model_ids=["a", "b"])
        assert self.saw(f"POST {path}", told).model_ids == ["a", "b"]
        assert permissions.retrieve(project).mode == "allow_list"
        assert self.saw(f"DELETE {path}", permissions.delete(project)).deleted
        assert permissions.retrieve(project).mode == "deny_list"

    def spend_limits(self, project: str) -> None:
        order: Any = {"threshold_amount": 12_345, "currency": "USD", "interval": "month"}
        path = "/organization/projects/{project_id}/spend_limit"
        limit = self.admin.projects.spend_limit
        assert self.saw(f"POST {path}", limit.update(project, **order)).threshold_amount == 12_345
        assert self.saw(f"GET {path}", limit.retrieve(project)).enforcement.status == "inactive"
        assert self.saw(f"DELETE {path}", limit.delete(project)).deleted
        path = "/organization/spend_limit"
        whole = self.admin.spend_limit
        self.saw(f"POST {path}", whole.update(**order))
        assert self.saw(f"GET {path}", whole.retrieve()).threshold_amount == 12_345
        assert self.saw(f"DELETE {path}", whole.delete()).deleted
        for gone in (lambda: limit.retrieve(project), whole.retrieve):
            try:
                gone()
            except openai.NotFoundError as error:
                assert error.code == "not_found"
            else:
                raise AssertionError("a limit that was deleted is still there")

    def spend_alerts(self, project: str) -> None:
        order: Any = {
            "threshold_amount": 1000,
            "currency": "USD",
            "interval": "month",
            "notification_channel": {
                "type": "email",
                "recipients": ["finance@example.com"],
                "subject_prefix": "[metergate]",
            },
        }
        alerts, path = self.admin.spend_alerts, "/organization/spend_alerts"
        made = self.saw(f"POST {path}", alerts.create(**order))
        assert self.saw(f"GET {path}/{{alert_id}}", alerts.retrieve(made.id)).threshold_amount == 1000
        changed = alerts.update(made.id, **{**order, "threshold_amount": 2000})
        assert self.saw(f"POST {path}/{{alert_id}}", changed).threshold_amount == 2000
        assert self.page(f"GET {path}", alerts.list()).data[0].id == made.id
        self.saw(f"DELETE {path}/{{alert_id}}", alerts.delete(made.id))
        own, path = self.admin.projects.spend_alerts, "/organization/projects/{project_id}/spend_alerts"
        mine = self.saw(f"POST {path}", own.create(project, **order))
        assert self.saw(f"GET {path}/{{alert_id}}", own.retrieve(mine.id, project_id=project)).id == mine.id
        self.saw(f"POST {path}/{{alert_id}}", own.update(mine.id, project_id=project, **order))
        assert [one.id for one in self.page(f"GET {path}", own.list(project))] == [mine.id]
        assert list(alerts.list()) == []
        self.saw(f"DELETE {path}/{{alert_id}}", own.delete(mine.id, project_id=project))


def walk(base_url: str, admin_key: str, organization: str) -> list[tuple[str, dict[str, Any]]]:
    """Every answer of the walk, with its operation."""
    tour = Tour(base_url, admin_key, organization)
    with tour.client:
        tour.whole()
    return tour.seen


if __name__ == "__main__":
    print(json.dumps({"version": openai.__version__, "seen": walk(*sys.argv[1:])}))
