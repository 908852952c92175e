"""Secrets that tools print are cut by their shape; words that only look like them stay."""

from __future__ import annotations

import time

import pytest

from fleetctl.core.errors import UsageError
from fleetctl.core.redact import has_login, redacted, redacted_login, refuse_login

JWT = "eyJhbGciOiJSUzI1NiIsImtpZCI6IiJ9.eyJpc3MiOiJrdWJlcm5ldGVz.c2lnbmF0dXJl"
CUT = {
    "Get https://joe:hunter2@git.example.com/x: timeout": "Get https://***@git.example.com/x: timeout",
    f"Authorization: Bearer {JWT}": "Authorization: Bearer ***",
    f"token {JWT} is expired": "token *** is expired",
    "authorization: basic am9lOmh1bnRlcjI=": "authorization: basic ***",
    'values: {"password": "hunter2", "size": 3}': 'values: {"password": ***, "size": 3}',
    "dsn user=joe password=hunter2 host=db": "dsn user=joe password=*** host=db",
    "https://h/p?token=abcdef123&x=1": "https://h/p?token=***&x=1",
    "https://joe:p@ss@h/x and https://joe:a/b@c@h/x": "https://***@h/x and https://***@h/x",
    "GET https://h/p?private_token=abc&x=1": "GET https://h/p?private_token=***&x=1",
    "https://h/c.tgz?X-Amz-Signature=00ff&sig=a%2Fb": "https://h/c.tgz?X-Amz-Signature=***&sig=***",
    "key: -----BEGIN EC PRIVATE KEY-----\nMIG\n-----END EC PRIVATE KEY----- end": "key: *** end",
    "cut off: -----BEGIN PRIVATE KEY-----\nMIG": "cut off: ***",
}
KEPT = (
    'secrets "web" is forbidden: User "system:serviceaccount:a:b" cannot list resource "secrets"',
    "helm.valuesFrom: Secret default/sizes does not exist",
    "the token was used up; ask for another: fleetctl cluster register paris",
    "basic authentication is needed",
    "https://git.example.com/team@2/x",
    "https://git.example.com:8443/team@2/x",
    "oci://h:5000/charts/web@sha256:00",
    "https://h/x?design=blue&page=2",
)


@pytest.mark.parametrize(("text", "left"), CUT.items())
def test_a_secret_is_cut(text: str, left: str) -> None:
    """And only the secret."""
    assert redacted(text) == left


@pytest.mark.parametrize("text", KEPT)
def test_ordinary_words_stay(text: str) -> None:
    """A message that names a secret is not one."""
    assert redacted(text) == text


@pytest.mark.parametrize("part", ["a" * 50 + "://", "password=", "-----BEGIN PRIVATE KEY-----", "bearer ", "eyJ", "https://a:"])
def test_hostile_text_costs_no_time(part: str) -> None:
    """200 kB of beginnings are looked through in a moment (measured: some ms; quadratic would be minutes)."""
    text = (part * (200_000 // len(part)))[:200_000]
    begun = time.process_time()
    redacted(text)
    assert time.process_time() - begun < 5


WITH_LOGIN = {
    "https://joe:hunter2@h/x.git": "https://***@h/x.git",
    "https://ghp_token@h/x.git": "https://***@h/x.git",
    "HTTP://joe:p@ss@h:80/x": "HTTP://***@h:80/x",
    "https://joe:a/b@h/x": "https://***@h/x",
    "https://:@h/x": "https://***@h/x",
    "https://@h/x": "https://***@h/x",
    "oci://joe:pw@h/charts/web": "oci://***@h/charts/web",
    "git::https://tok@h/x//dir?ref=v1": "git::https://***@h/x//dir?ref=v1",
    " https://joe:pw@h/x": " https://***@h/x",
    "ssh://git:pw@h/x": "ssh://***@h/x",
    "git:pw@h:team/x": "***@h:team/x",
    "https://h/x?access_token=abc": "https://h/x?access_token=***",
    "https://h/x.tgz?a=1&X-Amz-Signature=00": "https://h/x.tgz?a=1&X-Amz-Signature=***",
}
WITHOUT_LOGIN = (
    "https://h/x.git",
    "https://h:8443/team@2/x",
    "git@h:team/x.git",
    "ssh://git@h/x",
    "oci://h:5000/charts/web@sha256:00",
    "./charts/web",
    "charts/web@2",
    "http://[::1]:80/x",
    "https://h/x?ref=v1",
    "",
)


@pytest.mark.parametrize(("address", "left"), WITH_LOGIN.items())
def test_a_login_in_an_address_is_refused_and_not_repeated(address: str, left: str) -> None:
    assert redacted_login(address) == left
    with pytest.raises(UsageError, match=r"\*\*\*") as caught:
        refuse_login(address, "GitRepo a", "Use a Secret.")
    assert not {"hunter2", "ghp_token", "pw", "abc"} & set(caught.value.summary.replace(":", "@").split("@"))


@pytest.mark.parametrize("address", WITHOUT_LOGIN)
def test_an_ordinary_address_has_no_login(address: str) -> None:
    assert not has_login(address)
