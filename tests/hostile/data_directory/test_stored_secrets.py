"""What the database, the API and the data directory reveal of a Secret to somebody who can guess
its value.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from manager.service import Service
from manager.store.schema import objects
from tests.support.gitrepo import Clone
from tests.support.manager.real_service import MAP, add, run, scanned

PIN = b"4711"
PLAIN_HASH = hashlib.sha256(PIN).hexdigest()


def secret(name: str, **data: bytes) -> dict[str, Any]:
    meta = {"name": name, "namespace": "fleet-default"}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": meta,
        "data": {k: base64.b64encode(v).decode() for k, v in data.items()},
    }


async def shown(service: Service, name: str) -> dict[str, str]:
    return (await service.views.get_object("Secret", "fleet-default", name))["data"]


def test_a_guess_of_a_secret_value_cannot_be_tested(tmp_path: Path) -> None:
    """Fingerprints change with the value and the place, stay over a restart, and hold no plain
    hash.
    """
    folder = tmp_path / "data"
    kept: dict[str, str] = {}

    async def first(service: Service) -> None:
        await service.objects.put("Secret", "fleet-default", "a", secret("a", pin=PIN, other=PIN))
        await service.objects.put("Secret", "fleet-default", "b", secret("b", pin=PIN))
        kept.update(await shown(service, "a"))
        assert len({kept["pin"], kept["other"], (await shown(service, "b"))["pin"]}) == 3
        put = await service.objects.put(
            "Secret", "fleet-default", "a", secret("a", pin=b"4712", other=PIN)
        )
        assert put.object["data"]["pin"] != kept["pin"]
        assert put.object["data"]["other"] == kept["other"]
        await service.objects.put("Secret", "fleet-default", "a", secret("a", pin=PIN, other=PIN))

    async def second(service: Service) -> None:
        assert await shown(service, "a") == kept

    run(folder, first)
    run(folder, second)
    stored = b"".join(path.read_bytes() for path in folder.glob("fleet.db*"))
    assert PLAIN_HASH.encode() not in stored
    assert hashlib.sha256(PIN).digest() not in stored


def test_plain_hashes_of_an_older_version_are_replaced_at_the_start(tmp_path: Path) -> None:
    """A Secret that the key does not open says so, stands in the list beside the others, and can be
    replaced and deleted.
    """

    async def before(service: Service) -> None:
        for name in "ab":
            await service.objects.put("Secret", "fleet-default", name, secret(name, pin=PIN))
        old = msgspec.json.encode(
            {"type": "Opaque", "keys": {"pin": f"sha256:{PLAIN_HASH}"}, "content": "00"}
        )
        mine = objects.c.kind == "Secret"
        await service._store.write(
            lambda c: c.execute(sa.update(objects).where(mine).values(extra=old))
        )
        await service._store.write(
            lambda c: c.execute(
                sa.update(objects).where(mine, objects.c.name == "b").values(spec=b"0" * 60)
            )
        )

    async def after(service: Service) -> None:
        a, b = await service.views.list_objects("Secret")
        assert a["data"]["pin"].startswith("hmac:")
        assert b["data"] == {"pin": "unreadable"}
        put = await service.objects.put("Secret", "fleet-default", "b", secret("b", pin=PIN))
        assert put.result == "configured"
        assert put.object["data"]["pin"].startswith("hmac:")
        await service.objects.delete("Secret", "fleet-default", "b")

    run(tmp_path / "data", before)
    run(tmp_path / "data", after)


def test_the_name_of_a_git_store_reveals_nothing_and_unused_stores_are_removed(
    tmp_path: Path, clone: Clone
) -> None:
    commit = clone.push({"m.yaml": MAP.format(name="a")})
    folder = tmp_path / "data"
    plain = hashlib.sha256(f"{clone.url}\0\0".encode()).hexdigest()[:32]

    async def work(service: Service) -> None:
        old = folder / "git" / plain
        old.mkdir(parents=True)
        await add(service, clone.url)
        await scanned(service, commit)
        # the housekeeping of the start may have done it
        assert await service._scanner.sweep() in {0, 1}
        [name] = (folder / "git").iterdir()
        assert name.name != plain

    run(folder, work)
