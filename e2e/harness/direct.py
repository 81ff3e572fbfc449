"""A printer's software spoken to without any relay, to tell a fault of ours from one of its own."""

from urllib.parse import urlsplit

from .client import Target


class Direct:
    tls = None

    def __init__(self, url: str):
        self.port = urlsplit(url).port
        self.host = urlsplit(url).netloc

    def target(self) -> Target:
        return Target(self, self.host)
