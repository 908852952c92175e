"""What valuesFrom gave is known again and never quoted."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.deploy import values_from
from agent.deploy.downstream_resources import DownstreamCopy
from agent.kube.client import Kube
from fleetctl.core.model.errors import NotFound, ToolFailed, UsageError
from fleetctl.core.model.options import HelmOptions, KeyRef, Options, ValuesFrom
from fleetctl.core.model.sealed_layout import SealedContent

SECRET = {
    "db": {
        "password": "hunter2222",
        "hosts": ["a.example", "b.example"],
        "on": True,
        "port": 54321,
        "short": "ab",
    }
}


class Holding(Kube):
    """A cluster with these objects by path."""

    def __init__(self, objects: dict[str, Any]) -> None:
        self.objects = objects

    async def call(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        if path not in self.objects:
            raise NotFound(f"{path} does not exist")
        return {"data": self.objects[path]}


def read(text: str, **ref: str) -> list[dict[str, Any]]:
    kube = Holding(
        {
            "/api/v1/namespaces/web/secrets/s": {
                "values.yaml": base64.b64encode(text.encode()).decode()
            }
        }
    )
    options = Options(
        helm=HelmOptions(values_from=[ValuesFrom(secret_key_ref=KeyRef(name="s", **ref))])
    )
    return asyncio.run(values_from.read_values(kube, options, "web"))


def test_a_secret_is_read_in_the_releases_namespace() -> None:
    """With the key values.yaml, unless the reference names others."""
    assert read("a: no\n") == [{"a": False}]
    with pytest.raises(UsageError, match="Secret other/s does not exist"):
        read("a: 1\n", namespace="other")
    with pytest.raises(UsageError, match="has no key x"):
        read("a: 1\n", key="x")


@pytest.mark.parametrize(
    "text",
    [
        "hunter2222: [",
        "*hunter2222",
        "- hunter2222",
        "hunter2222",
        "a: \thunter2222: b",
        "a: !!int hunter2222",
    ],
)
def test_what_the_parser_says_of_a_secret_is_not_passed_on(text: str) -> None:
    """A YAML error quotes what stands there."""
    with pytest.raises(UsageError) as caught:
        read(text)
    assert "hunter" not in repr(
        [caught.value.summary, caught.value.subject, caught.value.next_step, caught.value.__cause__]
    )
    assert "Secret web/s" in caught.value.summary


class TestFingerprint:
    def test_it_depends_on_the_directory(self, tmp_path: Path) -> None:
        """So that nobody who sees a journal can try passwords against it."""
        one, two = tmp_path / "one", tmp_path / "two"
        one.mkdir()
        two.mkdir()
        first = values_from.fingerprint(one, [SECRET])
        assert first == values_from.fingerprint(one, [SECRET])
        assert len(first) == 32
        assert first != values_from.fingerprint(two, [SECRET])
        assert first != values_from.fingerprint(one, [{}])
        assert (one / "values.key").stat().st_mode & 0o777 == 0o600

    def test_nothing_read_needs_no_key(self, tmp_path: Path) -> None:
        """A bundle without valuesFrom writes nothing."""
        assert values_from.fingerprint(tmp_path, []) == ""
        assert list(tmp_path.iterdir()) == []


class TestCut:
    @pytest.mark.parametrize(
        ("said", "shown"),
        [
            ("cannot parse hunter2222 as a number", "cannot parse *** as a number"),
            ("data.p: aHVudGVyMjIyMg== is wrong", "data.p: *** is wrong"),
            ("port 54321, host b.example", "port ***, host ***"),
            ("broken off at hunter2", "broken off at ***"),
            ("true and ab stay", "true and ab stay"),
        ],
    )
    def test_values_are_cut(self, said: str, shown: str) -> None:
        """Plain, in base64, numbers, and at the end of a message that was shortened; not what is in
        every other word.
        """
        assert values_from.hide_values(said, [SECRET]) == shown

    def test_a_value_of_several_lines(self) -> None:
        """Errors are put into one line."""
        pem = "-----BEGIN KEY-----\nMIIEvQIBADANBg\n-----END KEY-----\n"
        assert "MIIE" not in values_from.hide_values(
            "bad: -----BEGIN KEY----- MIIEvQIBADANBg -----END KEY-----", [{"k": pem}]
        )
        assert "MIIE" not in values_from.hide_values(
            'bad: "-----BEGIN KEY-----\\nMIIEvQIBADANBg\\n-----END KEY-----\\n"', [{"k": pem}]
        )

    def test_an_error_that_passes_through(self) -> None:
        """Its summary is what is logged and reported."""
        with pytest.raises(ToolFailed) as caught, values_from.hide_in_errors([SECRET]):
            raise ToolFailed(
                "invalid: hunter2222", subject="release a/b", next_step="Correct hunter2222."
            )
        assert (caught.value.summary, caught.value.next_step, str(caught.value)) == (
            "invalid: ***",
            "Correct ***.",
            "invalid: ***",
        )


def test_an_entry_with_both_references_uses_both() -> None:
    """The ConfigMap first, so that the Secret wins, as in Fleet."""
    objects = {
        "/api/v1/namespaces/web/configmaps/c": {"k.yaml": "a: from-map\nb: from-map\n"},
        "/api/v1/namespaces/web/secrets/s": {
            "values.yaml": base64.b64encode(b"b: from-secret\n").decode()
        },
    }
    entry = ValuesFrom(
        secret_key_ref=KeyRef(name="s"), config_map_key_ref=KeyRef(name="c", key="k.yaml")
    )
    found = asyncio.run(
        values_from.read_values(
            Holding(objects), Options(helm=HelmOptions(values_from=[entry])), "web"
        )
    )
    assert found == [{"a": "from-map", "b": "from-map"}, {"b": "from-secret"}]


def test_what_the_bundle_itself_brings_is_read_before_it_is_written() -> None:
    """`downstreamResources` are on the cluster only after the values are needed."""
    copied = [
        DownstreamCopy(
            "Secret", "s", SealedContent(data={"values.yaml": base64.b64encode(b"a: 1\n").decode()})
        ),
        DownstreamCopy(
            "ConfigMap",
            "c",
            SealedContent(data={"values.yaml": base64.b64encode(b"b: 2\n").decode()}),
        ),
    ]
    entry = ValuesFrom(
        secret_key_ref=KeyRef(name="s"), config_map_key_ref=KeyRef(name="c", namespace="web")
    )
    options = Options(helm=HelmOptions(values_from=[entry]))
    assert asyncio.run(values_from.read_values(Holding({}), options, "web", copied)) == [
        {"b": 2},
        {"a": 1},
    ]
    elsewhere = ValuesFrom(secret_key_ref=KeyRef(name="s", namespace="other"))
    with pytest.raises(UsageError, match="Secret other/s does not exist"):
        asyncio.run(
            values_from.read_values(
                Holding({}), Options(helm=HelmOptions(values_from=[elsewhere])), "web", copied
            )
        )


@pytest.mark.parametrize(
    "name", ["../../other/secrets/s", "..", ".", "", "a/b", "a%2fb", "a?b", "A", "a\n"]
)
def test_a_name_that_leaves_the_namespace_is_refused(name: str) -> None:
    """Before anything is asked of the API server."""
    for ref in (KeyRef(name=name), KeyRef(name="s", namespace=name or "..")):
        options = Options(helm=HelmOptions(values_from=[ValuesFrom(secret_key_ref=ref)]))
        with pytest.raises(UsageError, match="cannot exist"):
            asyncio.run(values_from.read_values(Holding({}), options, "web"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "execution error at (c/templates/a.yaml:3:4): HUNTER\nTWO",
            "execution error at (c/templates/a.yaml:3:4): the template stopped",
        ),
        (
            'ConfigMap.v1 "web" is invalid: data.x: Invalid value: "2222RETNUH"',
            'ConfigMap.v1 "web" is invalid: data.x: Invalid value: "***"',
        ),
        (
            "spec.replicas: Invalid value: 54322: must be less",
            "spec.replicas: Invalid value: ***: must be less",
        ),
        ("function `aHVudGVy` not defined", "function `***` not defined"),
        ('template "c/templates/a.yaml" failed', 'template "c/templates/a.yaml" failed'),
        ("it contains HUNTER2222 and Hunter2222", "it contains *** and ***"),
    ],
)
def test_a_changed_value_does_not_leave_in_an_error(text: str, shown: str) -> None:
    """A template can change a value in any way; the place and the kind of the error stay."""
    with pytest.raises(ToolFailed) as caught, values_from.hide_in_errors([SECRET]):
        raise ToolFailed(text)
    assert caught.value.summary.startswith(shown)
    assert "\n" not in caught.value.summary


def test_without_values_an_error_stays_as_it_is() -> None:
    """Nothing in it can be a secret of the cluster."""
    with pytest.raises(ToolFailed, match='"x" in full'), values_from.hide_in_errors([]):
        raise ToolFailed('"x" in full')
