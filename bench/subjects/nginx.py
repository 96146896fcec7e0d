"""nginx as the yardstick: one worker that passes bytes, checks nothing, counts nothing, writes nothing down.

Rules: configured as deployments in front of vLLM configure it for streams (buffering off, keep-alive
upstream), with what costs extra left out (no access log). Must not know how it is measured.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from bench.figures import Recorded
from bench.subjects.launch import accepts, await_up, end, free_port, launch

_CONFIG = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
worker_rlimit_nofile 65536;
events {{ worker_connections 32768; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 100000000;
  tcp_nodelay on;
  upstream engine {{
    server {engine};
    keepalive 4096;
    keepalive_requests 100000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://engine;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 300s;
      {more}
    }}
  }}
}}
"""


class Nginx:
    """nginx from the PATH."""

    name = "nginx"
    does = "passes bytes: no keys, no limits, no metering, no access log"
    usage_event = True
    starts_late_s = 0.0
    database_pid = None
    headers: Mapping[str, str] = {}
    more = ""  # of its configuration, where a call is passed on
    key = "sk-mg-" + "0" * 49  # what the others check, this one only carries

    def __init__(self, engine_url: str, folder: Path, core: int) -> None:
        self._engine = engine_url.removeprefix("http://")
        self._folder = folder
        self._core = core
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"
        self.version = ""

    @staticmethod
    def missing() -> str | None:
        return None if _binary() else "nginx is not installed (apt install nginx): no ratios without it"

    def start(self) -> None:
        binary = _binary()
        assert binary
        said = subprocess.run([binary, "-v"], capture_output=True, text=True, check=True).stderr
        self.version = said.strip().rpartition("/")[2]
        self._folder.chmod(
            0o711
        )  # where we are root its worker is somebody else, and keeps long bodies there
        config, log = self._folder / "nginx.conf", self._folder / "nginx.log"
        config.write_text(
            _CONFIG.format(folder=self._folder, engine=self._engine, port=self._port, more=self.more)
        )
        command = [binary, "-c", str(config), "-e", str(self._folder / "error.log")]
        self._process = launch(command, core=self._core, log=log)
        await_up(self._process, lambda: accepts(self._port), log=log, within_s=10)

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def recorded(self) -> Recorded | None:
        return None

    def stop(self) -> None:
        if self._process:
            end(self._process)


def _binary() -> str | None:
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
