"""What an HTTP answer says of its own body: `Content-MD5` (RFC 1864), `Digest` (RFC 3230), `Content-Digest` and
`Repr-Digest` (RFC 9530). Few cameras send one; a web server in front of a camera can (Apache: `ContentDigest On`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator, Mapping, Set

ALGORITHMS = {b"md5": "md5", b"sha": "sha1", b"sha-256": "sha256", b"sha-512": "sha512"}
LISTS = (b"digest", b"content-digest", b"repr-digest")


def digest_flaw(fields: Mapping[bytes, Set[bytes]], body: bytes) -> str:
    """What is wrong with `body` by the header's word, as the end of a sentence; empty where it agrees or says nothing.

    `fields`: values by name in lower case. An algorithm that is not known says nothing.
    """
    for name, algorithm, text in _said(fields):
        try:
            said = base64.b64decode(text, validate=True)
        except binascii.Error:
            return f"its {name} is none: {text[:40]!a}"
        if said != hashlib.new(algorithm, body, usedforsecurity=False).digest():
            return f"its bytes are not those that its {name} was made of"
    return ""


def _said(fields: Mapping[bytes, Set[bytes]]) -> Iterator[tuple[str, str, bytes]]:
    """(header, hashlib's name of the algorithm, base64) of each digest."""
    for text in sorted(fields.get(b"content-md5", set())):
        yield "Content-MD5", "md5", text
    for header in LISTS:
        for value in sorted(fields.get(header, set())):
            for item in value.split(b","):
                name, equals, text = item.strip().partition(b"=")
                if equals and name.lower() in ALGORITHMS:
                    colons = text.startswith(b":") and text.endswith(b":") and len(text) > 2
                    yield header.decode().title(), ALGORITHMS[name.lower()], text[1:-1] if colons else text
