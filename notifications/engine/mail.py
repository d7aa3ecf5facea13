"""Mail: a text and an HTML part from templates/email, over one SMTP connection for a batch."""

from __future__ import annotations

import logging
import smtplib
from email.utils import parseaddr
from types import TracebackType
from typing import Any, Final, Self

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.mail.message import BadHeaderError
from django.template.loader import render_to_string

from notifications.engine.claim import Outcome
from notifications.engine.words import context_of, title_of
from notifications.models import Message
from notifications.unsubscribe import topics_of, unsubscribe_url, why_unwanted

logger = logging.getLogger(__name__)

ERROR_MAX: Final = 1000
# Also the answer to a size that MAIL FROM announces.
_TOO_LARGE: Final = 552


class MailTransport:
    """One connection, opened for the first message and anew after it broke."""

    def __enter__(self) -> Self:
        self._connection: Any = get_connection()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def send(self, message: Message) -> Outcome:
        unwanted = why_unwanted(message)
        if unwanted:
            return Outcome(error=unwanted, is_final=True)
        mail = build_mail(message)
        try:
            self._connection.open()
        except (smtplib.SMTPException, OSError) as error:
            self._close()
            return Outcome(error=_server_said(error), is_down=True)
        return self._send(mail)

    def _send(self, mail: EmailMultiAlternatives) -> Outcome:
        try:
            self._connection.send_messages([mail])
        except smtplib.SMTPRecipientsRefused as error:
            code, text = next(iter(error.recipients.values()))
            self._close()
            return Outcome(error=_answer(code, text), is_final=code >= 500)
        except smtplib.SMTPResponseException as error:
            # Refused for what it is (552 too large, 554 spam), or for who we are (530, 535, 553).
            is_its_own = isinstance(error, smtplib.SMTPDataError) or error.smtp_code == _TOO_LARGE
            self._close()
            return Outcome(
                error=_server_said(error),
                is_final=is_its_own and error.smtp_code >= 500,
                is_down=not is_its_own,
            )
        except (smtplib.SMTPException, OSError) as error:
            self._close()
            return Outcome(error=_server_said(error), is_down=True)
        except (BadHeaderError, ValueError) as error:
            return Outcome(error=f"Not a mail that can be sent: {error}"[:ERROR_MAX], is_final=True)
        return Outcome(is_sent=True)

    def _close(self) -> None:
        try:
            self._connection.close()
        except (smtplib.SMTPException, OSError):
            logger.debug("mail: the connection broke while it was closed")


def build_mail(message: Message) -> EmailMultiAlternatives:
    url = unsubscribe_url(message.recipient, topics_of(message))
    context = {**context_of(message), "unsubscribe_url": url}
    mail = EmailMultiAlternatives(
        subject=f"[cronsched] {title_of(message)}"[:200],
        body=render_to_string(f"email/{message.event}.txt", context).strip() + "\n",
        to=[message.recipient],
        headers={
            "Message-ID": f"<{message.message_id}@{_domain()}>",
            "Auto-Submitted": "auto-generated",
            "List-Unsubscribe": f"<{url}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        },
    )
    mail.attach_alternative(render_to_string(f"email/{message.event}.html", context), "text/html")
    return mail


def _domain() -> str:
    return parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2] or "localhost"


def _server_said(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return _answer(error.smtp_code, error.smtp_error)
    return f"No mail server at {settings.EMAIL_HOST}:{settings.EMAIL_PORT}: {error}"[:ERROR_MAX]


def _answer(code: int, text: bytes | str) -> str:
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return f"The mail server answered {code}: {words}"[:ERROR_MAX]
