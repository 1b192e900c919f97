"""Small PDFs for tests: written by hand from the PDF reference, sound or encrypted (RC4, revision
2)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import pytest

_PAD = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")
_FILE_ID = b"0123456789abcdef"
_PERMISSIONS = -4


@pytest.fixture
def pdf() -> Callable[..., bytes]:
    return make_pdf


def make_pdf(pages: Sequence[str], *, title: str = "", password: str | None = None) -> bytes:
    """A PDF with one line of text a page; encrypted where a password is given, which may be
    empty."""
    key, encryption = _encryption(password) if password is not None else (b"", b"")
    first = 5
    kids = " ".join(f"{first + 2 * n} 0 R" for n in range(len(pages)))
    objects = {
        1: b"<< /Type /Catalog /Pages 2 0 R >>",
        2: f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        3: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        4: b"<< /Title <" + _encrypted(title.encode(), 4, key).hex().encode() + b"> >>",
    }
    for number, text in enumerate(pages):
        page, content = first + 2 * number, first + 2 * number + 1
        objects[page] = (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {content} 0 R "
            "/Resources << /Font << /F 3 0 R >> >> >>"
        ).encode()
        stream = _encrypted(f"BT /F 12 Tf 72 700 Td ({text}) Tj ET".encode("latin-1"), content, key)
        objects[content] = b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream)
    return _file(objects, encryption)


def _file(objects: dict[int, bytes], encryption: bytes) -> bytes:
    out = bytearray(b"%PDF-1.4\n")
    offsets = []
    for number, body in sorted(objects.items()):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(offsets) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    identity = b"<" + _FILE_ID.hex().encode() + b">"
    out += b"trailer << /Size %d /Root 1 0 R /Info 4 0 R " % (len(offsets) + 1)
    out += b"/ID [%s %s] %s >>\nstartxref\n%d\n%%%%EOF" % (identity, identity, encryption, table)
    return bytes(out)


def _encryption(password: str) -> tuple[bytes, bytes]:
    padded = (password.encode() + _PAD)[:32]
    owner = _rc4(hashlib.md5(padded).digest()[:5], padded)
    permissions = (_PERMISSIONS & 0xFFFFFFFF).to_bytes(4, "little")
    key = hashlib.md5(padded + owner + permissions + _FILE_ID).digest()[:5]
    user = _rc4(key, _PAD)
    entry = "/Encrypt << /Filter /Standard /V 1 /R 2 /O <%s> /U <%s> /P %d >>"
    return key, (entry % (owner.hex(), user.hex(), _PERMISSIONS)).encode()


def _encrypted(data: bytes, number: int, key: bytes) -> bytes:
    if not key:
        return data
    salted = key + number.to_bytes(3, "little") + b"\0\0"
    return _rc4(hashlib.md5(salted).digest()[:10], data)


def _rc4(key: bytes, data: bytes) -> bytes:
    state = list(range(256))
    j = 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    out = bytearray()
    i = j = 0
    for byte in data:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(out)
