"""Searches what programs have written for secrets that went through them."""

import base64


def expect_nowhere(marked: dict[str, str | bytes], places: dict[str, bytes]):
    """None of the secrets may be in any of the places, which are given with their names."""
    hits = [f"{name} in {place}" for name, secret in marked.items() for place, text in places.items() if occurs(secret, text)]
    assert not hits, "\n".join(hits)


def occurs(secret: str | bytes, text: bytes) -> bool:
    """Whether a secret is there, plain or as part of something in base64."""
    secret = secret.encode() if isinstance(secret, str) else secret
    assert len(secret) >= 6, "so short a text is anywhere by chance"
    if secret in text:
        return True
    for ballast in range(3):
        # What precedes a text shifts its base64; the first and last characters also depend on the neighbours.
        coded = base64.b64encode(b"x" * ballast + secret).rstrip(b"=")
        if coded[4 if ballast else 0 : -2] in text:
            return True
    return False
