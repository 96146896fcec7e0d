"""The simulated engine as an ASGI app: routes, keys, refusals.

It must run under uvicorn, whose transports the streams write to (see wire).
"""

import asyncio
import secrets
import time

import msgspec

from proxy.simulator import catalog, chat, completions, pooling
from proxy.simulator.account_file import AccountFile
from proxy.simulator.accounts import Account, Accounts, Ended
from proxy.simulator.config import SimulatorConfig
from proxy.simulator.controls import Controls
from proxy.simulator.errors import EngineRefusal, UnknownModel
from proxy.simulator.exchange import ClientLeft, Exchange, Headers, Receive, Scope, Send, UndecodableBody
from proxy.simulator.faults import Fault, FaultPlan
from proxy.simulator.fields import Body, text
from proxy.simulator.heads import Head
from proxy.simulator.metrics import Metrics
from proxy.simulator.serving import Generating, Serving
from proxy.simulator.wire import reset_connection

_CHAT_PATHS = frozenset(("/v1/chat/completions", "/invocations"))
_COMPLETION_PATHS = frozenset(("/v1/completions",))
_EMBEDDING_PATHS = frozenset(("/v1/embeddings",))
_RERANK_PATHS = frozenset(("/v1/rerank", "/v2/rerank", "/rerank"))
_SCORE_PATHS = frozenset(("/v1/score", "/score"))
_GET_PATHS = frozenset(("/health", "/ping", "/version", "/load", "/metrics", "/v1/models"))
# The engine's own list: everything else answers without a key.
_GUARDED = ("/v1", "/v2", "/inference")


class Simulator:
    """The ASGI app. Everything mutable of one simulated engine hangs here."""

    def __init__(self, config: SimulatorConfig) -> None:
        self._config = config
        self._accounts = Accounts(config.calls_kept, lambda: time.time_ns() // 1000)
        kept = config.account_file
        self._new_account = Account if kept is None else AccountFile(kept).new
        self._metrics = Metrics(config.models, time.time())
        self._faults = FaultPlan(config.faults)
        self._serving = Serving(config)
        self._keys = frozenset(f"Bearer {key}" for key in config.api_keys)
        self._vary: Headers = [(b"vary", b"Origin")]
        self.controls = Controls(self._accounts, self._faults, self._serving)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            exchange = Exchange(scope, receive, send, self._reply_headers(scope))
            try:
                await self._route(exchange)
            except EngineRefusal as refusal:
                await exchange.answer(refusal.status, refusal.body())
            except UndecodableBody:
                await exchange.answer(400, b'{"detail":"There was an error parsing the body"}')
            except ClientLeft:
                await exchange.see_off()
            finally:
                exchange.close()

    def _reply_headers(self, scope: Scope) -> Headers:
        if not self._config.request_id_headers:
            return self._vary
        given = next((value for key, value in scope["headers"] if key == b"x-request-id"), None)
        return [*self._vary, (b"x-request-id", given or secrets.token_hex(16).encode())]

    async def _route(self, exchange: Exchange) -> None:
        path, task = exchange.path, self._config.task
        if self._keys and path.startswith(_GUARDED) and exchange.header(b"authorization") not in self._keys:
            exchange.without_vary()
            await exchange.answer(401, b'{"error":"Unauthorized"}')
        elif path in _CHAT_PATHS | _COMPLETION_PATHS and task != "embed":
            if await exchange.only("POST"):
                await self._generate(exchange)
        elif path in _EMBEDDING_PATHS | _RERANK_PATHS | _SCORE_PATHS and task != "generate":
            if await exchange.only("POST"):
                await self._pool(exchange)
        elif path in ("/tokenize", "/detokenize"):
            if await exchange.only("POST"):
                await self._tokens(exchange)
        elif path in _GET_PATHS:
            if path == "/ping" or await exchange.only("GET"):
                await self._get(exchange)
        elif path.startswith("/simulator/"):
            body = await exchange.read() if exchange.method == "PUT" else b""
            status, answer = self.controls.handle(exchange.method, path, exchange.scope["query_string"], body)
            await exchange.answer(status, msgspec.json.encode(answer))
        else:
            await exchange.answer(404, b'{"detail":"Not Found"}')

    async def _get(self, exchange: Exchange) -> None:
        if exchange.path in ("/health", "/ping"):
            await exchange.answer(200, b"", content_type=None)
        elif exchange.path == "/version":
            await exchange.answer(200, b'{"version":"0.32.0"}')
        elif exchange.path == "/load":
            running = sum(counters.num_requests_running for counters in self._metrics.models.values())
            await exchange.answer(200, b'{"server_load":%d}' % running)
        elif exchange.path == "/metrics":
            await exchange.answer(200, self._metrics.render(), b"text/plain; version=1.0.0; charset=utf-8")
        else:
            await exchange.answer(200, catalog.models(self._config, int(time.time()), secrets.token_hex))

    def _model(self, body: Body, pooling_model: bool = False) -> str:
        """The served model that the body names; the first where it names none."""
        name = text(body, "model")
        if not name:
            return self._config.models[0]
        if name in self._config.models:
            return name
        if pooling_model:
            raise UnknownModel(f"The model `{name}` does not exist.")
        raise UnknownModel(
            f"The model `{name}` does not exist. Valid aliases: {', '.join(self._config.models)}.", "model"
        )

    async def _tokens(self, exchange: Exchange) -> None:
        body = await exchange.read_json()
        model = self._model(body)
        if exchange.path == "/tokenize":
            await exchange.answer(200, catalog.tokenized(body, model, self._config.max_model_len))
        else:
            await exchange.answer(200, catalog.detokenized(body))

    async def _fault(self, exchange: Exchange, body: Body) -> Fault | None:
        """The fault that the request meets; None where it has answered already."""
        model = body.get("model")
        fault = self._faults.take(exchange.path, model if isinstance(model, str) else None)
        if fault.headers_delay_ms:
            await asyncio.sleep(fault.headers_delay_ms / 1000)
        if fault.die_before_headers:
            if fault.reset:
                reset_connection(exchange.transport)
            else:
                exchange.transport.close()
            raise ClientLeft
        if fault.status is None:
            return fault
        answer = b'{"error":{"message":"a fault","type":"Fault","param":null,"code":%d}}' % fault.status
        if fault.body is not None:
            answer = fault.body.encode() if isinstance(fault.body, str) else msgspec.json.encode(fault.body)
        extra = [(name.lower().encode(), value.encode()) for name, value in fault.headers.items()]
        await exchange.answer(
            fault.status, answer, (fault.content_type or "application/json").encode(), extra
        )
        return None

    async def _read(self, exchange: Exchange) -> Body:
        delay_ms = self._faults.read_delay_ms(exchange.path)
        if delay_ms:
            await asyncio.sleep(delay_ms / 1000)
        return await exchange.read_json()

    def _request_id(self, exchange: Exchange, body: Body) -> str:
        return exchange.header(b"x-request-id") or text(body, "request_id") or secrets.token_hex(8)

    async def _generate(self, exchange: Exchange) -> None:
        body = await self._read(exchange)
        fault = await self._fault(exchange, body)
        if fault is None:
            return
        model = self._model(body)
        call: chat.ChatCall | completions.CompletionCall
        if exchange.path in _CHAT_PATHS and ("prompt" not in body or "messages" in body):
            call, prefix = chat.read_chat(body, model, self._config), "chatcmpl-"
        else:
            call, prefix = completions.read_completion(body, model, self._config), "cmpl-"
        request_id = self._request_id(exchange, body)
        account = self._account(exchange, request_id, prefix, model, call.stream)
        head = Head(account.id, int(time.time()), model, self._config.fingerprint)
        await self._serving.serve(
            Generating(exchange, call, head, account, self._metrics.models[model], fault)
        )

    def _account(
        self, exchange: Exchange, request_id: str, prefix: str, model: str, streamed: bool
    ) -> Account:
        account = self._new_account(
            request_id=request_id,
            call_id=prefix + request_id,
            endpoint=exchange.path,
            model=model,
            streamed=streamed,
        )
        self._accounts.open(account)
        return account

    async def _pool(self, exchange: Exchange) -> None:
        body = await self._read(exchange)
        fault = await self._fault(exchange, body)
        if fault is None:
            return
        model = self._model(body, pooling_model=True)
        request_id = self._request_id(exchange, body)
        created, config = int(time.time()), self._config
        if exchange.path in _EMBEDDING_PATHS:
            prefix = "embd-"
            answer, prompt_tokens = pooling.embeddings(
                body,
                call_id=prefix + request_id,
                created=created,
                model=model,
                size=config.embedding_size,
                max_model_len=config.max_model_len,
            )
        elif exchange.path in _RERANK_PATHS:
            prefix = "score-"
            answer, prompt_tokens = pooling.rerank(body, prefix + request_id, model, config.embedding_size)
        else:
            prefix = "score-"
            answer, prompt_tokens = pooling.score(
                body, prefix + request_id, created, model, config.embedding_size
            )
        account = self._account(exchange, request_id, prefix, model, False)
        account.prompt_tokens, account.prefilled = prompt_tokens, True
        account.end(Ended.FINISHED)
        counters = self._metrics.models[model]
        counters.prefilled(prompt_tokens, 0)
        counters.sequence_finished("stop", prompt_tokens, 0)
        await exchange.answer(200, answer, (fault.content_type or "application/json").encode())


def create_simulator(config: SimulatorConfig) -> Simulator:
    """A simulated engine of its own: app, counters, cache and faults."""
    return Simulator(config)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
