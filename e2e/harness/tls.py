"""A certificate authority of the tests' own."""

from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass
class Tls:
    authority: Path
    certificate: Path
    key: Path


def make_tls(directory: Path, names=("localhost", "*.localhost")) -> Tls:
    """Files for a service on `localhost` and below, or under other names."""
    directory.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    leaf = authority.issue_cert(*names, "127.0.0.1")
    made = Tls(directory / "authority.pem", directory / "certificate.pem", directory / "key.pem")
    authority.cert_pem.write_to_path(str(made.authority))
    leaf.private_key_pem.write_to_path(str(made.key))
    made.certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    return made
