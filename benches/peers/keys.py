"""The keys that all contestants share: ids, and secrets in keygate's printed form."""

import hashlib
import random
import string
import zlib
from typing import NamedTuple

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
LETTERS = bytes(ALPHABET[byte % 62].encode()[0] for byte in range(256))


class Key(NamedTuple):
    id: str
    secret: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.secret.encode()).hexdigest()


def make(count: int) -> list[Key]:
    """The same keys at every call: they protect nothing."""
    source = random.Random(1)
    return [Key(f"key_{number:07}", _secret(source)) for number in range(count)]


def unknown() -> str:
    """A well-formed secret that belongs to no key."""
    return _secret(random.Random(2))


def _secret(source: random.Random) -> str:
    text = "kg_live_" + source.randbytes(32).translate(LETTERS).decode()
    return text + _checksum(text)


def _checksum(text: str) -> str:
    rest, digits = zlib.crc32(text.encode()), ""
    for _ in range(6):
        rest, digit = divmod(rest, 62)
        digits = ALPHABET[digit] + digits
    return digits
