"""`fleetctl agent-release` and `cluster upgrade-agent`."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path

import pytest

from agent.upgrade.release_keys import is_signed, read
from fleetctl.core.model import wire
from fleetctl.core.model.agent_release import of_file
from tests.support.cli.person import Person, Shop

ABOUT = {"version": "2.0", "python": "cpython-3.11", "platform": "x86_64-linux-gnu"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """What is signed is never run, so a .pyz that only says what it is will do."""
    path = tmp_path / "fleet-agent.pyz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("fleet-agent.json", json.dumps(ABOUT | {"files": {}}))
    return path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    Person(tmp_path).good("agent-release", "keygen", str(tmp_path / "release.key"))
    return tmp_path / "release.key"


def test_a_key_is_private_and_made_once(tmp_path: Path, key: Path):
    """0600, never overwritten; what is printed is what agents pin."""
    public = key.with_name("release.key.pub")
    assert key.stat().st_mode & 0o777 == 0o600
    assert len(read(public.read_text().strip())) == 32
    assert read(str(public)) == read(public.read_text().strip())
    done = Person(tmp_path).run("agent-release", "keygen", str(key))
    assert (done.status, "exists already" in done.err) == (1, True)


def test_signing_and_checking_need_no_manager(tmp_path: Path, file: Path, key: Path):
    """And an agent that pins the key believes the signature."""
    person = Person(tmp_path)
    said = person.good("agent-release", "sign", str(file), "--key", str(key))
    assert "version 2.0 for cpython-3.11 x86_64-linux-gnu" in said
    public = key.with_name("release.key.pub").read_text().strip()
    assert "good: version 2.0" in person.good("agent-release", "verify", str(file), "--key", public)
    release = of_file(file.with_name("fleet-agent.pyz.sig").read_bytes(), file="x")
    assert is_signed(release, {release.key_id: public})
    assert not release.replaces_newer
    person.good(
        "agent-release",
        "sign",
        str(file),
        "--key",
        str(key),
        "--replaces-newer",
        "--signature",
        str(tmp_path / "s"),
    )
    assert "may replace a newer version" in person.good(
        "agent-release", "verify", str(file), "--key", public, "--signature", str(tmp_path / "s")
    )


def test_a_key_of_openssl_with_a_passphrase_signs(tmp_path: Path, file: Path):
    """The passphrase is read from standard input when nobody sits there."""
    key, public = tmp_path / "key.pem", tmp_path / "public.pem"
    plain = subprocess.run(
        ["openssl", "genpkey", "-algorithm", "ed25519"], check=True, capture_output=True
    ).stdout
    subprocess.run(
        ["openssl", "pkey", "-aes256", "-passout", "pass:word", "-out", str(key)],
        input=plain,
        check=True,
        capture_output=True,
    )
    subprocess.run(
        ["openssl", "pkey", "-pubout", "-out", str(public)],
        input=plain,
        check=True,
        capture_output=True,
    )
    person = Person(tmp_path)
    words = ("agent-release", "sign", str(file), "--key", str(key))
    assert person.run(*words, stdin="wrong\n").status == 2
    person.good(*words, stdin="word\n")
    assert "good" in person.good("agent-release", "verify", str(file), "--key", str(public))
    assert len(read(str(public))) == 32


@pytest.mark.parametrize("harm", ["other key", "other file", "edited", "no key", "no zip"])
def test_what_was_not_signed_is_refused(tmp_path: Path, file: Path, key: Path, harm: str):
    """In one line, with the status of a refusal or of a wrong file."""
    person = Person(tmp_path)
    person.good("agent-release", "sign", str(file), "--key", str(key))
    public, signature = (
        key.with_name("release.key.pub").read_text().strip(),
        file.with_name("fleet-agent.pyz.sig"),
    )
    status = 3
    match harm:
        case "other key":
            person.good("agent-release", "keygen", str(tmp_path / "other"))
            public = (tmp_path / "other.pub").read_text().strip()
        case "other file":
            with zipfile.ZipFile(file, "a") as archive:
                archive.writestr("more", "x")
        case "edited":
            signature.write_bytes(signature.read_bytes().replace(b'"2.0"', b'"2.1"'))
        case "no key":
            public, status = wire.b64(b"short"), 2
        case _:
            file.write_bytes(b"#!/bin/sh\n")
            status = 2
    done = person.run("agent-release", "verify", str(file), "--key", public)
    assert (done.status, len(done.err.splitlines()) <= 3, done.out) == (status, True, ""), done


def test_versions_are_added_listed_and_deleted(person: Person, shop: Shop, file: Path, key: Path):
    """The file travels as it is, with its signature; one that was changed since is not sent."""
    shop.service.releases.clear()
    person.good("agent-release", "sign", str(file), "--key", str(key))
    assert "version 2.0" in person.good("agent-release", "add", str(file))
    assert f"add release 2.0 {file.stat().st_size}" in shop.service.calls
    listed = person.good("agent-release", "list")
    assert listed.split()[:5] == ["VERSION", "PYTHON", "PLATFORM", "KEY", "CLUSTERS"]
    assert "x86_64-linux-gnu" in listed
    assert person.good("agent-release", "list", "-o", "name") == "2.0\n"
    assert person.run("agent-release", "delete", "2.0").status == 3
    assert "2.0 deleted (1 file)" in person.good("agent-release", "delete", "2.0", "--yes")
    assert person.run("agent-release", "delete", "2.0", "--yes").status == 1
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("more", "x")
    assert person.run("agent-release", "add", str(file)).status == 3


def test_a_wish_names_clusters_and_a_version(person: Person, shop: Shop):
    """By name or by label, never both, never neither; and how many at once."""
    said = person.good("cluster", "upgrade-agent", "paris", "rome", "--to", "2.0", "--max", "1")
    assert said.splitlines() == [
        "1 cluster: agent version 2.0 is wanted",
        "1 cluster: queued, at most 1 at once",
    ]
    assert shop.service.calls[-1] == "wish fleet-default ['paris', 'rome']  2.0 1"
    assert "agents stay as they are" in person.good(
        "cluster", "upgrade-agent", "-l", "tier=edge", "--off"
    )
    assert shop.service.calls[-1] == "wish fleet-default [] tier=edge  "
    for words in (
        (),
        ("paris",),
        ("--to", "2.0"),
        ("paris", "-l", "a=b", "--to", "2.0"),
        ("paris", "--to", "2.0", "--off"),
    ):
        assert person.run("cluster", "upgrade-agent", *words).status == 2, words


def test_a_cluster_shows_what_runs_and_what_is_wanted(person: Person, shop: Shop):
    """In `get` as a line, in the wide list as columns."""
    upgrade = {"state": "failed", "message": "it did not check in", "since": "", "number": 3}
    agent = {"version": "1.0", "wanted": "2.0", "upgrade": upgrade}
    shop.service.give(
        "Cluster",
        "paris",
        status={
            "display": {"readyBundles": "1/1", "state": "Ready", "message": ""},
            "agent": agent,
        },
    )
    assert "paris: agent 1.0, wanted 2.0: failed (it did not check in)" in person.good(
        "cluster", "get", "paris"
    )
    wide = person.good("cluster", "list", "-o", "wide").splitlines()
    assert {"AGENT", "WANTED", "UPGRADE"} <= set(wide[0].split())
    assert {"1.0", "2.0", "failed"} <= set(wide[1].split())


def test_a_reader_and_a_bound_token_name_no_version(
    person: Person, shop: Shop, file: Path, key: Path, tmp_path: Path
):
    """Adding concerns every workspace; a wish only the token's own."""
    person.good("agent-release", "sign", str(file), "--key", str(key))
    for role, bound in (("read", ""), ("admin", "team-a")):
        name = f"{role}-{bound or 'all'}"
        words = ("--role", role, *(("-n", bound) if bound else ()))
        token = person.good("token", "create", name, *words).strip()
        other = Person(tmp_path / name)
        other.good("login", shop.url, "--ca-pin", shop.ca_pin, "--token-stdin", stdin=token)
        assert other.run("agent-release", "add", str(file)).status == 3
        assert other.run("agent-release", "delete", "2.0", "--yes").status == 3
        assert (
            other.run(
                "cluster", "upgrade-agent", "paris", "--to", "2.0", "-n", "fleet-default"
            ).status
            == 3
        )
