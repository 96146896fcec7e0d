"""A mail server that keeps what it is handed: SMTP as far as the standard library's client speaks it."""

import asyncio
import email
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default
from typing import Any


@dataclass
class Mailbox:
    """`said`: every command of every connection. `refused`: recipients that are turned away."""

    port: int = 0
    messages: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    tls: ssl.SSLContext | None = None
    offers_login: bool = False

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(line: str) -> None:
            writer.write(line.encode() + b"\r\n")

        say("220 mailbox")
        is_secret = False
        while line := await reader.readline():
            command = line.decode().strip()
            self.said.append(command)
            verb = command.upper().partition(" ")[0]
            if verb == "EHLO":
                say("250-mailbox")
                if self.tls is not None and not is_secret:
                    say("250-STARTTLS")
                say("250 AUTH PLAIN" if self.offers_login else "250 SIZE 1000000")
            elif verb == "STARTTLS" and self.tls is not None:
                say("220 go on")
                await writer.drain()
                await writer.start_tls(self.tls)
                is_secret = True
            elif verb == "RCPT":
                address = command.partition("<")[2].partition(">")[0]
                if address in self.refused:
                    say("550 no such mailbox")
                else:
                    self.recipients.append(address)
                    say("250 ok")
            elif verb == "DATA":
                say("354 go on")
                await self._take(reader)
                say("250 taken")
            elif verb == "QUIT":
                say("221 bye")
                break
            else:
                say("235 welcome" if verb == "AUTH" else "250 ok")
            await writer.drain()
        writer.close()

    async def _take(self, reader: asyncio.StreamReader) -> None:
        lines: list[bytes] = []
        while (line := await reader.readline()) != b".\r\n":
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        message: Any = email.message_from_bytes(b"".join(lines), policy=default)
        self.messages.append(message)


@asynccontextmanager
async def mailbox(*, tls_at_once: ssl.SSLContext | None = None) -> AsyncIterator[Mailbox]:
    """A mailbox on a free port of loopback."""
    box = Mailbox()
    server = await asyncio.start_server(box.converse, "127.0.0.1", 0, ssl=tls_at_once)
    box.port = server.sockets[0].getsockname()[1]
    async with server:
        yield box
