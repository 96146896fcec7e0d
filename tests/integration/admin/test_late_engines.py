"""`metergate up` in front of engines that do not answer, or not yet: what it says, then and later."""

import asyncio
import shlex
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from admin import probe
from admin.cli.engine_news import EngineNews
from admin.cli.readying import Ledger
from proxy.config import ProxySettings
from proxy.simulator import SimulatorConfig
from tests.engines import engine_thread

from .conftest import Up

CERTIFICATE = Path(__file__).parents[2] / "vectors" / "tls" / "engine.pem"
TINY = SimulatorConfig(models=("tiny",), tokens_per_second=0)


@contextmanager
def kept_port() -> Iterator[int]:
    """A port where nobody listens, and that nobody is given: an engine of ours may have it later."""
    with socket.socket() as place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind(("127.0.0.1", 0))
        yield place.getsockname()[1]


@contextmanager
def answering(content: bytes) -> Iterator[str]:
    """A server that says these bytes to whoever connects; its place."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    caller, _ = server.accept()
                except OSError:
                    return
                with caller:
                    caller.recv(65536)
                    caller.sendall(content)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def called(words: list[str]) -> httpx.Response:
    """What curl would send of a line as a shell reads it."""
    assert words[:2] == ["curl", "-N"]
    headers = dict(words[at + 1].split(": ", 1) for at, word in enumerate(words) if word == "-H")
    return httpx.post(words[2], content=words[words.index("-d") + 1], headers=headers, timeout=30)


def test_a_start_says_that_no_engine_answers_and_gives_the_line_to_paste_when_one_comes(
    start: Callable[..., Up], tmp_path: Path
) -> None:
    """Guards against a `ready` that keeps quiet about calls that cannot be answered, against a line to paste
    with no model's name in it, or that comes before the data plane knows the model; and against a reload that
    says nothing of a new engine.
    """
    toml = tmp_path / "metergate.toml"
    with kept_port() as port:
        toml.write_text(f"engines = ['http://127.0.0.1:{port}']\n")
        up = start(tmp_path)
        assert up.said[-1] == "ready", up.complained
        assert "A line to try it with comes here as soon as an engine answers." in up.said
        assert not [line for line in up.said if "curl" in line or "MODEL" in line]
        silent, fate = up.heard(f"the engine http://127.0.0.1:{port}") + up.heard("until then")
        assert silent.endswith("does not answer (Connection refused): start it, or correct its URL")
        assert "calls get 503 engine_unavailable; nothing has to be restarted" in fate
        assert "--engine URL or METERGATE_ENGINES" in fate
        headers = {"Authorization": f"Bearer {up.first_run['api_key']}"}
        refused = httpx.post(
            f"{up.first_run['base_url']}/chat/completions",
            json={"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]},
            headers=headers,
            timeout=30,
        )
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "engine_unavailable")

        with engine_thread(TINY, port=port):
            assert up.process.stdout is not None
            words: list[str] = []
            while words[:1] != ["curl"]:
                words = shlex.split(up.process.stdout.readline())
            answer = called(words)
            assert (answer.status_code, answer.text.count("[DONE]")) == (200, 1), answer.text
        assert len(up.heard(f"engine http://127.0.0.1:{port} answers")) == 1
        assert up.heard("tiny is without a price")

    with kept_port() as another:
        toml.write_text(f"engines = ['http://127.0.0.1:{another}']\n")
        up.process.send_signal(signal.SIGUSR2)
        assert up.heard(f"warning: the engine http://127.0.0.1:{another} does not answer")
        assert up.end() == 0, up.complained


def test_nobody_who_reads_stdout_no_more_ends_what_serves(start: Callable[..., Up], tmp_path: Path) -> None:
    """Guards against `metergate up | grep -m1 ready`, whose pipe breaks at the line that comes late."""
    with kept_port() as port:
        up = start(tmp_path, "--engine", f"http://127.0.0.1:{port}", PYTHONUNBUFFERED="")
        assert up.said[-1] == "ready" and up.process.stdout is not None, up.complained
        up.process.stdout.close()
        with engine_thread(TINY, port=port):
            assert up.heard("tiny is without a price")
            models = httpx.get(
                f"{up.first_run['base_url']}/models",
                headers={"Authorization": f"Bearer {up.first_run['api_key']}"},
                timeout=30,
            )
            assert [each["id"] for each in models.json()["data"]] == ["tiny"]
            assert up.end() == 0
    assert not [line for line in up.complained if "BrokenPipe" in line or "Traceback" in line]


async def test_it_asks_no_longer_than_it_says(tmp_path: Path) -> None:
    """Guards against a start that asks an engine for ever, and one that ends its asking without a word."""
    said: list[str] = []
    with kept_port() as port:
        settings = ProxySettings(data_dir=tmp_path, engines=(f"http://127.0.0.1:{port}",))
        news = EngineNews(
            settings,
            False,
            Ledger(None, set()),
            settings.engines,
            (),
            None,
            said.append,
            round_seconds=0,
            rounds_max=3,
        )
        assert await news.hear() == []
        news.wait(None)
        while not said:
            await asyncio.sleep(0)
    assert said and said[0].startswith("warning: no answer for an hour.")


@pytest.mark.parametrize(
    ("scheme", "content", "fact", "do"),
    [
        (
            "http",
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "answers 404 to /v1/models",
            "base URL",
        ),
        ("http", b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n", "answers 401", "METERGATE_ENGINE_API_KEY"),
        (
            "http",
            b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n<hi>",
            "something else than a list",
            "base URL",
        ),
        ("http", b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP", "https://"),
        ("http", b"\x15\x03\x03\x00\x02\x02\x32", "does not speak HTTP", "https://"),
        ("https", b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak TLS", "http://"),
    ],
)
def test_an_engine_that_is_none_is_told_with_what_to_do(
    scheme: str, content: bytes, fact: str, do: str
) -> None:
    """Guards against OpenSSL's words and exceptions' names in place of what is wrong."""
    with answering(content) as place, pytest.raises(probe.EngineSilent, match=fact) as silent:
        probe.models(f"{scheme}://{place}", api_key=None, timeout_seconds=10)
    assert do in silent.value.do


def test_a_certificate_that_nobody_trusts_is_told_as_that() -> None:
    with (
        engine_thread(TINY, certificate=CERTIFICATE) as engine,
        pytest.raises(probe.EngineSilent, match=r"certificate that is not trusted \(self-signed") as silent,
    ):
        probe.models(engine.url, api_key=None, timeout_seconds=10)
    assert "METERGATE_ENGINE_CA_FILE" in silent.value.do
