"""Idempotency-Key: a request that is sent twice is done once, and answered the same.

A key belongs to who sends it. What was answered is kept for a day in the transaction that did it, sealed with
what only the caller has (docs/decisions/0020-answers-are-kept-sealed.md): a secret that is shown once is not
in the database in clear. A request that was refused did nothing, and nothing is kept of it.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from admin.sealing import SALT_BYTES, seal, unseal
from ledger import kept_answers
from ledger.actors import Actor
from ledger.kept_answers import ANSWER_BYTES_MAX, KeyInUse
from ledger.tables.answers import KeptAnswer

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession


class KeyReused(Exception):
    """The idempotency key was used for another request."""


class AnswerGone(Exception):
    """The request was done, and its answer cannot be given again."""


class Replay(Exception):
    """The request was done before, and this was the answer."""

    def __init__(self, status: int, content_type: bytes, body: bytes) -> None:
        """As it was."""
        super().__init__("replayed")
        self.status = status
        self.content_type = content_type
        self.body = body


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, as far as it has to be the same when it comes again. `credentials`: the Authorization
    header, a secret of the caller's.
    """

    method: str
    path: str
    query: bytes
    body: bytes
    told: tuple[bytes, ...]
    """Values of the headers that say what is meant."""
    credentials: bytes


class Claim:
    """One request's use of its idempotency key."""

    def __init__(self, key: bytes, asked: Asked, pepper: bytes, now_us: int, running: set[bytes]) -> None:
        """`running` is of this process: who has a key in it is refused without asking the database."""
        self._key = key
        self._asked = asked
        self._pepper = pepper
        self._now_us = now_us
        self._running = running
        self._actor: Actor | None = None
        self._digest = b""

    async def begin(self, session: "AsyncSession", actor: Actor) -> None:
        """Claims the key for the transaction. Raises Replay, KeyInUse, KeyReused and AnswerGone."""
        self._actor = actor
        kept = await kept_answers.claim(session, self._digest, self._now_us)
        if kept is None:
            return
        if not hmac.compare_digest(kept.fingerprint, self._fingerprint()):
            raise KeyReused(f"this Idempotency-Key was used for another request: {kept.method} {kept.path}")
        opened = None if kept.answer is None else unseal(self._secret(), kept.answer)
        if opened is None:
            raise AnswerGone("this request was done; its answer is not kept, or only for other credentials")
        content_type, _, body = opened.partition(b"\n")
        raise Replay(kept.http_status, content_type, body)

    def enter(self, actor: Actor) -> None:
        """Claims the key in this process, before there is a transaction. Raises KeyInUse."""
        digest = self._mac(b"key", str(actor.kind).encode(), actor.id.encode(), self._key)
        if digest in self._running:
            raise KeyInUse("another request with this Idempotency-Key is still at work")
        self._running.add(digest)
        self._digest = digest

    def leave(self) -> None:
        """Lets go of it."""
        self._running.discard(self._digest)

    async def keep(self, session: "AsyncSession", status: int, content_type: bytes, body: bytes) -> None:
        """Keeps the answer of what the transaction did."""
        if self._actor is None:
            return
        text = content_type + b"\n" + body
        sealed = None
        if len(text) <= ANSWER_BYTES_MAX:
            sealed = seal(self._secret(), secrets.token_bytes(SALT_BYTES), text)
        answer = KeptAnswer(
            digest=self._digest,
            actor_id=self._actor.id,
            method=self._asked.method,
            path=self._asked.path,
            fingerprint=self._fingerprint(),
            http_status=status,
            answer=sealed,
            created_us=self._now_us,
        )
        await kept_answers.keep(session, answer)

    def _fingerprint(self) -> bytes:
        """Keyed, so that nobody who reads the database finds out a short body by trying."""
        asked = self._asked
        return self._mac(
            b"request", asked.method.encode(), asked.path.encode(), asked.query, asked.body, *asked.told
        )

    def _secret(self) -> bytes:
        return self._mac(b"answer", self._key, self._asked.credentials)

    def _mac(self, *parts: bytes) -> bytes:
        """An HMAC of the parts, each as its own hash: no two lists of parts run together."""
        hashed = b"".join(hashlib.sha256(part).digest() for part in parts)
        return hmac.digest(self._pepper, b"idempotency, version 1" + hashed, "sha256")
