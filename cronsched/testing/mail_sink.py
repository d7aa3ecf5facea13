"""A real SMTP server on loopback that keeps what it gets, and fails when told to."""

from __future__ import annotations

import socket
import threading
from email import message_from_bytes, policy
from email.message import EmailMessage
from types import TracebackType
from typing import Any, Self

from aiosmtpd.controller import Controller


class MailSink:
    """`with MailSink() as sink:` serves on `sink.port`; `answers` maps an address, of a
    recipient or of the sender, to a refusal.

    `stop` and `start` again keep the port: a server that was away.
    """

    def __init__(self, port: int = 0) -> None:
        self.mails: list[EmailMessage] = []
        self.recipients: list[str] = []
        self.answers: dict[str, str] = {}
        self.port = port
        self._arrived = threading.Condition()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        self._controller: Any = Controller(self, hostname="127.0.0.1", port=self.port or _free_port())
        self._controller.start()
        self.port = self._controller.port

    def stop(self) -> None:
        self._controller.stop(no_assert=True)

    def wait_for(self, count: int, timeout_s: float = 20.0) -> list[EmailMessage]:
        with self._arrived:
            self._arrived.wait_for(lambda: len(self.mails) >= count, timeout_s)
            return list(self.mails)

    async def handle_MAIL(
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if address in self.answers:
            return self.answers[address]
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if address in self.answers:
            return self.answers[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        mail: Any = message_from_bytes(envelope.content, policy=policy.default)
        with self._arrived:
            self.mails.append(mail)
            self.recipients += envelope.rcpt_tos
            self._arrived.notify_all()
        return "250 OK"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
