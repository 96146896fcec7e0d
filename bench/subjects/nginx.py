"""nginx as the yardstick: one worker that passes bytes, checks nothing, counts nothing, writes nothing down.

Rules: configured as deployments in front of vLLM configure it for streams (buffering off, keep-alive
upstream), with what costs extra left out (no access log). Must not know how it is measured.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from bench.subjects.launch import accepts, free_port
from bench.subjects.launched import Launched

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


class Nginx(Launched):
    """nginx from the PATH."""

    name = "nginx"
    does = "passes bytes: no keys, no limits, no metering, no access log"
    more = ""  # of its configuration, where a call is passed on

    def __init__(self, engine_url: str, folder: Path, core: int) -> None:
        super().__init__(engine_url, folder, core)
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"

    @staticmethod
    def missing() -> str | None:
        return None if _binary() else "nginx is not installed (apt install nginx): no ratios without it"

    def start(self) -> None:
        binary = _binary()
        assert binary
        said = subprocess.run([binary, "-v"], capture_output=True, text=True, check=True).stderr
        self.version = said.strip().rpartition("/")[2]
        folder, engine = self.folder, self.engine_url.removeprefix("http://")
        folder.chmod(0o711)  # where we are root its worker is somebody else, and keeps long bodies there
        config = folder / "nginx.conf"
        config.write_text(_CONFIG.format(folder=folder, engine=engine, port=self._port, more=self.more))
        command = [binary, "-c", str(config), "-e", str(folder / "error.log")]
        self._launch(command, lambda: accepts(self._port), log=folder / "nginx.log", within_s=10)


def _binary() -> str | None:
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
