"""A mail server for the service, which keeps what it is given."""

import email
import email.policy
import re
from dataclasses import dataclass

from aiosmtpd.controller import Controller

from .process import free_port, wait_for


@dataclass
class Mail:
    sender: str
    recipients: list[str]
    message: email.message.EmailMessage
    raw: bytes

    @property
    def text(self) -> str:
        return self.message.get_content()

    def link(self) -> str:
        """The only address in it."""
        (found,) = re.findall(r"https?://\S+", self.text)
        return found


class MailServer:
    """Takes mail by SMTP on a loopback port."""

    def __init__(self):
        self.mails: list[Mail] = []
        # Of its own choice the library takes 25, and a port that the kernel picks it does not tell.
        self.port = free_port()
        self.controller = Controller(self, hostname="127.0.0.1", port=self.port)

    async def handle_DATA(self, _server, _session, envelope) -> str:
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.mails.append(Mail(envelope.mail_from, list(envelope.rcpt_tos), message, envelope.content))
        return "250 OK"

    def start(self) -> "MailServer":
        self.controller.start()
        return self

    @property
    def environment(self) -> dict[str, str]:
        """What the service has to know."""
        return {
            "SPOOLWAY_SMTP__URL": f"smtp://127.0.0.1:{self.port}",
            "SPOOLWAY_SMTP__FROM": "Spoolway <printers@example.org>",
        }

    def next(self, to: str) -> Mail:
        """The next mail to an address, which is then forgotten."""
        found = wait_for(lambda: [mail for mail in self.mails if mail.recipients == [to]], 20, f"a mail to {to}")[0]
        self.mails.remove(found)
        return found

    def close(self):
        self.controller.stop()
