"""`metergate up`, whole: real processes, the simulator behind them."""

import json
import os
import shlex
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from proxy.capacity import FILES_ENOUGH, files_max

from .conftest import Up, run


def test_the_first_start_says_the_keys_once_and_ready_alone_on_a_line(up: Up) -> None:
    assert up.said.count("ready") == 1
    said = "\n".join(up.said)
    for secret in ("api_key", "admin_key"):
        assert up.first_run[secret] in said
    assert up.heard("SIMULATOR")
    assert len(up.heard("simulated, simulated-embedding are without a price")) == 1
    if files_max() < FILES_ENOUGH:  # as the system that runs this has it
        assert len(up.heard("files open, which is")) == 1


def test_first_run_json_has_exactly_these_names_and_is_readable_by_its_owner_alone(up: Up) -> None:
    assert list(up.first_run) == ["api_key", "admin_key", "tenant_id", "project_id", "base_url", "admin_url"]
    assert stat.S_IMODE((up.folder / "data" / "first-run.json").stat().st_mode) == 0o600
    # Also where the data folder itself had been made before, with the usual 0755.
    open_to_others = [path for path in (up.folder / "data").rglob("*") if path.stat().st_mode & 0o077]
    assert open_to_others == []
    assert not list((up.folder / "data").glob(".first-run*"))


def test_the_curl_line_streams(up: Up) -> None:
    """Reads the printed line as a shell does, and sends what curl would."""
    (line,) = (line for line in up.said if line.strip().startswith("curl"))
    words = shlex.split(line)
    assert words[:2] == ["curl", "-N"]
    headers = dict(words[at + 1].split(": ", 1) for at, word in enumerate(words) if word == "-H")
    with httpx.stream(
        "POST", words[2], content=words[words.index("-d") + 1], headers=headers, timeout=30
    ) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = list(response.iter_lines())
    assert lines[-2:] == ["data: [DONE]", ""] or lines[-1] == "data: [DONE]"


def test_what_was_called_is_in_the_book_and_in_the_export(up: Up) -> None:
    """The CLI finds the ledger of a running metergate, and waits until it is posted."""
    body = {"model": "simulated", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 7}
    headers = {"Authorization": f"Bearer {up.first_run['api_key']}"}
    answer = httpx.post(
        f"{up.first_run['base_url']}/chat/completions", json=body, headers=headers, timeout=30
    )
    usage = answer.json()["usage"]
    exported = run("usage", "export", "--format", "csv", cwd=up.folder)
    last = dict(
        zip(
            exported.stdout.splitlines()[0].split(","),
            exported.stdout.splitlines()[-1].split(","),
            strict=True,
        )
    )
    assert exported.returncode == 0
    assert last["completion_tokens"] == str(usage["completion_tokens"])
    assert last["prompt_tokens"] == str(usage["prompt_tokens"])
    assert last["project_id"] == up.first_run["project_id"]
    totals = json.loads(run("usage", "show", "--json", cwd=up.folder).stdout)
    assert totals["calls"] == len(exported.stdout.splitlines()) - 1


def test_the_metrics_page_answers_at_its_own_port(up: Up) -> None:
    (line,) = (line for line in up.said if line.strip().startswith("metrics"))
    url = line.split()[1]
    assert httpx.get(url, timeout=30).status_code == 200
    assert httpx.get(url.replace("/metrics", "/"), timeout=30).status_code == 404


def test_the_doctor_finds_nothing_wrong_from_another_folder(up: Up, tmp_path: Path) -> None:
    """Guards against a look at what no start leaves, and at the settings of a shell that knows nothing of
    it; and against a secret in what it says.
    """
    done = run("doctor", "--json", "--data-dir", str(up.folder / "data"), cwd=tmp_path)
    findings = json.loads(done.stdout)["findings"]
    assert done.returncode == 0, findings
    ready = [each["about"] for each in findings if each["check"] == "ready"]
    assert ready == ["the data plane", "the control plane"]
    states = {each["check"]: each["state"] for each in findings}
    assert states["poster"] == states["engine"] == states["secret_key"] == "ok"
    assert not [name for name in ("api_key", "admin_key") if up.first_run[name] in done.stdout]


def test_a_data_plane_key_is_refused_by_the_control_plane(up: Up) -> None:
    url = f"{up.first_run['admin_url']}/admin/v1/tenants"
    refused = httpx.get(url, headers={"Authorization": f"Bearer {up.first_run['api_key']}"}, timeout=30)
    assert refused.status_code == 401
    assert up.first_run["api_key"] not in refused.text
    let_in = httpx.get(url, headers={"Authorization": f"Bearer {up.first_run['admin_key']}"}, timeout=30)
    assert [tenant["id"] for tenant in let_in.json()["data"]] == [up.first_run["tenant_id"]]


def test_a_second_one_on_the_same_folder_is_refused_in_one_line(up: Up) -> None:
    second = run("up", "--port", "0", "--admin-port", "0", "--metrics-port", "0", cwd=up.folder)
    assert second.returncode == 1
    assert second.stderr.count("\n") == 1
    assert f"another metergate (process {up.process.pid})" in second.stderr


@pytest.mark.parametrize(("option", "part"), [("--port", "base_url"), ("--admin-port", "admin_url")])
def test_a_taken_port_is_named_with_the_way_to_choose_another(
    up: Up, tmp_path: Path, option: str, part: str
) -> None:
    port = httpx.URL(up.first_run[part]).port
    ports = {"--port": "0", "--admin-port": "0", "--metrics-port": "0", option: str(port)}
    taken = run("up", *(word for pair in ports.items() for word in pair), cwd=tmp_path)
    assert taken.returncode == 1
    assert taken.stderr.count("\n") == 1
    assert f"port {port} is taken; choose another with {option}" in taken.stderr


def test_a_killed_worker_is_started_again_and_answers(up: Up) -> None:
    before = up.children()
    os.kill(before["proxy.worker"], signal.SIGKILL)
    deadline = time.monotonic() + 30
    while up.children().get("proxy.worker") in {None, before["proxy.worker"]} and time.monotonic() < deadline:
        time.sleep(0.05)
    health = httpx.get(up.first_run["base_url"].removesuffix("/v1") + "/healthz", timeout=30)
    assert health.status_code == 200
    assert up.children().keys() == before.keys()
    assert up.heard("data plane worker 0 ended (killed by SIGKILL)")


def test_a_second_start_is_quiet_keeps_the_keys_and_leaves_no_orphans(
    tmp_path: Path, start: Callable[..., Up]
) -> None:
    first = start(tmp_path)
    keys = first.first_run
    assert first.end(signal.SIGINT) == 0
    assert not any("ended" in line or "Traceback" in line for line in first.complained), first.complained

    second = start(tmp_path, "--engine", "http://127.0.0.1:9")
    assert second.said[-1] == "ready"
    said = "\n".join(second.said + second.complained)
    assert keys["api_key"] not in said
    assert keys["admin_key"] not in said
    assert str(tmp_path / "data" / "first-run.json") in said
    assert second.heard("127.0.0.1:9") == [
        "warning: the engine http://127.0.0.1:9 does not answer (Connection refused): "
        "start it, or correct its URL"
    ]
    assert {name: second.first_run[name] for name in ("api_key", "admin_key", "tenant_id", "project_id")} == {
        name: keys[name] for name in ("api_key", "admin_key", "tenant_id", "project_id")
    }
    assert httpx.get(second.first_run["admin_url"] + "/healthz", timeout=30).status_code == 200

    children = second.children()
    second.end(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while any(_alive(pid) for pid in children.values()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [name for name, pid in children.items() if _alive(pid)] == []


@pytest.mark.postgres
def test_it_runs_on_a_postgresql_that_was_upgraded_before(
    tmp_path: Path, start: Callable[..., Up], postgresql_url: str
) -> None:
    running = start(tmp_path, "--database-url", postgresql_url)
    assert running.said[-1] == "ready", running.complained
    body = {"model": "simulated", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3}
    headers = {"Authorization": f"Bearer {running.first_run['api_key']}"}
    answer = httpx.post(
        f"{running.first_run['base_url']}/chat/completions", json=body, headers=headers, timeout=30
    )
    shown = run("usage", "show", "--json", "--database-url", postgresql_url, cwd=tmp_path)
    assert json.loads(shown.stdout)["completion_tokens"] == answer.json()["usage"]["completion_tokens"]
    assert running.end() == 0
    assert not (tmp_path / "data" / "metergate.db").exists()


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
