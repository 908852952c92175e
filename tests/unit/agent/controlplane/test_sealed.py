"""What the manager seals opens for one agent, in one place, and nowhere else."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from agent.controlplane.sealed import open_sealed
from fleetctl.core.model.errors import RefusedError
from fleetctl.core.model.ids import BundleName, ClusterId, Generation
from fleetctl.core.model.sealed_layout import context_of, montgomery, scalar
from manager.security.secret_sealing import seal

SECRET = bytes(range(32))
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
PUBLIC = KEY.public_key().public_bytes_raw()
PLAIN = b'{"data":{"password":"aHVudGVyMjI="}}'


def context(
    cluster: str = "c-1",
    bundle: str = "web",
    generation: int = 7,
    kind: str = "Secret",
    name: str = "db",
) -> bytes:
    return context_of(ClusterId(cluster), BundleName(bundle), Generation(generation), kind, name)


HERE = context()


def test_the_agent_opens_what_is_meant_for_it() -> None:
    """And nobody sees it on the way."""
    sealed = seal(SECRET, PUBLIC, HERE, PLAIN)
    assert open_sealed(KEY, HERE, sealed) == PLAIN
    assert b"hunter" not in sealed
    assert b"password" not in sealed


@pytest.mark.parametrize(
    "elsewhere",
    [
        context(cluster="c-2"),
        context(bundle="db"),
        context(generation=8),
        context(kind="ConfigMap"),
        context(name="web"),
    ],
)
def test_it_opens_in_its_place_only(elsewhere: bytes) -> None:
    """Another cluster, bundle, generation, kind or name is refused, though the key is right."""
    with pytest.raises(RefusedError):
        open_sealed(KEY, elsewhere, seal(SECRET, PUBLIC, HERE, PLAIN))


def test_another_agent_cannot_open_it() -> None:
    """Nor can the same machine after it was enrolled with another key."""
    with pytest.raises(RefusedError):
        open_sealed(Ed25519PrivateKey.generate(), HERE, seal(SECRET, PUBLIC, HERE, PLAIN))


def test_every_byte_counts() -> None:
    """A changed, a cut and an empty message are refused, and a public key of small order too."""
    sealed = seal(SECRET, PUBLIC, HERE, PLAIN)
    for at in range(len(sealed)):
        broken = bytearray(sealed)
        # in the public key's last byte a bit that X25519 itself passes over (RFC 7748)
        broken[at] ^= 0x80
        with pytest.raises(RefusedError):
            open_sealed(KEY, HERE, bytes(broken))
    for broken_off in (
        b"",
        sealed[:31],
        sealed[:32],
        sealed[:-1],
        bytes(len(sealed)),
        sealed + b"x",
    ):
        with pytest.raises(RefusedError):
            open_sealed(KEY, HERE, broken_off)


def test_the_same_is_sealed_to_the_same_bytes() -> None:
    """So that a document keeps its ETag; another place, content, recipient or manager's secret
    shares no key and no bytes.
    """
    sealed = seal(SECRET, PUBLIC, HERE, PLAIN)
    assert sealed == seal(SECRET, PUBLIC, HERE, PLAIN)
    other = Ed25519PrivateKey.from_private_bytes(bytes([1] * 32)).public_key().public_bytes_raw()
    different = [
        seal(SECRET, PUBLIC, context(generation=8), PLAIN),
        seal(SECRET, PUBLIC, HERE, PLAIN + b" "),
        seal(SECRET, other, HERE, PLAIN),
        seal(bytes(32), PUBLIC, HERE, PLAIN),
    ]
    assert len({one[:32] for one in [sealed, *different]}) == 5


@pytest.mark.parametrize("seed", [bytes([number] * 32) for number in range(20)])
def test_both_sides_of_the_key_fit(seed: bytes) -> None:
    """The X25519 key that the manager computes from the public key is the one that the agent
    computes from the private key.
    """
    key = Ed25519PrivateKey.from_private_bytes(seed)
    mine = X25519PrivateKey.from_private_bytes(scalar(seed)).public_key().public_bytes_raw()
    assert montgomery(key.public_key().public_bytes_raw()) == mine


@pytest.mark.parametrize(
    "bad", [b"", bytes(31), (1).to_bytes(32, "little"), b"\xff" * 31 + b"\x7f"]
)
def test_a_key_that_is_none(bad: bytes) -> None:
    """An agent chooses its own key: one that cannot be sent secrets is an error of its bundle, not
    of the manager.
    """
    with pytest.raises(ValueError, match="not an Ed25519 key"):
        seal(SECRET, bad, HERE, PLAIN)


def test_a_key_of_small_order() -> None:
    """y = -1 is a point of order two; what were sealed for it anybody could open."""
    small = (2**255 - 20).to_bytes(32, "little")
    with pytest.raises(ValueError):
        seal(SECRET, small, HERE, PLAIN)
