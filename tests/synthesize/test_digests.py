from __future__ import annotations

from hashlib import blake2b

from hypothesis import given
from hypothesis import strategies as st

from engrain.synthesize.digests import Digests


@given(st.lists(st.integers(0, 2**64 - 1).map(lambda number: number.to_bytes(8, "little"))))
def test_a_digest_is_new_once_as_in_a_set(digests):
    seen, expected = Digests(), set()
    for digest in digests + digests:
        key = digest if any(digest) else (1).to_bytes(8, "little")
        assert seen.add(digest) == (key not in expected)
        expected.add(key)
    assert len(seen) == len(expected)


def test_it_grows_and_forgets_nothing():
    seen = Digests()
    # All of them begin their search at the same slot.
    digests = [(number << 40 | 7).to_bytes(8, "little") for number in range(200)]
    digests += [blake2b(bytes([number % 256, number // 256])).digest() for number in range(12_000)]
    assert all([seen.add(digest) for digest in digests])
    assert not any([seen.add(digest) for digest in digests])
    assert len(seen) == len(digests)
