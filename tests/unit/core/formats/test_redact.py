"""Secrets that tools print are cut by their shape; words that only look like them stay."""

from __future__ import annotations

import time

import pytest

from fleetctl.core.formats.redact import (
    has_login,
    redacted,
    redacted_login,
    refuse_login,
    without_public_user,
)
from fleetctl.core.model.errors import UsageError

JWT = "eyJhbGciOiJSUzI1NiIsImtpZCI6IiJ9.eyJpc3MiOiJrdWJlcm5ldGVz.c2lnbmF0dXJl"
CUT = {
    "Get https://joe:hunter2@git.example.com/x: timeout": (
        "Get https://***@git.example.com/x: timeout"
    ),
    f"Authorization: Bearer {JWT}": "Authorization: Bearer ***",
    f"token {JWT} is expired": "token *** is expired",
    "authorization: basic am9lOmh1bnRlcjI=": "authorization: basic ***",
    'values: {"password": "hunter2", "size": 3}': 'values: {"password": ***, "size": 3}',
    "dsn user=joe password=hunter2 host=db": "dsn user=joe password=*** host=db",
    "https://h/p?token=abcdef123&x=1": "https://h/p?token=***&x=***",
    "https://joe:p@ss@h/x and https://joe:a/b@c@h/x": "https://***@h/x and https://***@h/x",
    "GET https://h/p?private_token=abc&x=1": "GET https://h/p?private_token=***&x=***",
    "https://h/c.tgz?X-Amz-Signature=00ff&sig=a%2Fb": "https://h/c.tgz?X-Amz-Signature=***&sig=***",
    "key: -----BEGIN EC PRIVATE KEY-----\nMIG\n-----END EC PRIVATE KEY----- end": "key: *** end",
    "https://h/p?auth=ab&q": "https://h/p?auth=***&***",
    "Get https://h/p?design=ab;ref=v1#tok=x": "Get https://h/p?design=***;ref=v1#tok=***",
    "https://h/p?ref=a%26key=b&path=/a%2Fb": "https://h/p?ref=***&path=/a%2Fb",
    "https://h/p?%74oken=ab": "https://h/p?%74oken=***",
    "/p?%74oken=ab&k=1": "/p?%74oken=***&k=1",
    "https://h/p?dG9rZW4=": "https://h/p?***",
    "https://h/p#0123abc": "https://h/p#***",
    "at //joe:pw@h/x": "at //***@h/x",
    "https:/joe:pw@h/x and https:\\joe:pw@h": "https:/***@h/x and https:\\***@h",
    "https://joe:pw%40h/x and https://pw\uff20h/x": "https://***@h/x and https://***@h/x",
    "https://h//joe:pw@i/x": "https://h//***@i/x",
    "https://org@dev.azure.com/org/p": "https://***@dev.azure.com/org/p",
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
    "https://h/x?version=1.2&page=2#first-steps",
)


@pytest.mark.parametrize(("text", "left"), CUT.items())
def test_a_secret_is_cut(text: str, left: str) -> None:
    """And only the secret."""
    assert redacted(text) == left


@pytest.mark.parametrize("text", KEPT)
def test_ordinary_words_stay(text: str) -> None:
    """A message that names a secret is not one."""
    assert redacted(text) == text


@pytest.mark.parametrize(
    "part",
    [
        "a" * 50 + "://",
        "password=",
        "-----BEGIN PRIVATE KEY-----",
        "bearer ",
        "eyJ",
        "https://a:",
        "https://a?b=",
        "//a:",
    ],
)
def test_hostile_text_costs_no_time(part: str) -> None:
    """200 kB of beginnings are looked through in a moment (measured: some ms; quadratic would be
    minutes).
    """
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
    "ssh://joe:a/pw@h/x": "ssh://***@h/x",
    "git:pw@h:team/x": "***@h:team/x",
    "//joe:pw@h/x": "//***@h/x",
    "//pw@h/x": "//***@h/x",
    "https:/joe:pw@h/x": "https:/***@h/x",
    "https:\\joe:pw@h/x": "https:\\***@h/x",
    "https:joe:pw@h/x": "***@h/x",
    "https://joe:pw%40h/x": "https://***@h/x",
    "https://pw\uff20h/x": "https://***@h/x",
    "https://joe%3Apw@h/x": "https://***@h/x",
    "ssh://joe%3apw@h/x": "ssh://***@h/x",
    "https://h/x?auth=abc": "https://h/x?auth=***",
    "https://h/x?jwt=abc&ref=v1": "https://h/x?jwt=***&ref=v1",
    "https://h/x?%61uth=abc": "https://h/x?%61uth=***",
    "https://h/x#token=abc": "https://h/x#token=***",
    "https://h/x;session=abc": "https://h/x;session=***",
    "https://pw@dev.azure.com/org/p": "https://***@dev.azure.com/org/p",
    "https://org:pw@dev.azure.com/org/p": "https://***@dev.azure.com/org/p",
    "https://org@dev.azure.com/org/p?sig=abc": "https://org@dev.azure.com/org/p?sig=***",
    "https://org@dev.azure.com/organization/p": "https://***@dev.azure.com/organization/p",
    "https://h/x?access_token=abc": "https://h/x?access_token=***",
    "https://h/x.tgz?a=1&X-Amz-Signature=00": "https://h/x.tgz?a=***&X-Amz-Signature=***",
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
    "/charts/team@2",
    "https://org@dev.azure.com/org/project/_git/repo",
    "https://Org@dev.azure.com:443/org",
    "https://h/x?author=joe&file=web.tgz",
    "",
)


@pytest.mark.parametrize(("address", "left"), WITH_LOGIN.items())
def test_a_login_in_an_address_is_refused_and_not_repeated(address: str, left: str) -> None:
    assert redacted_login(address) == left
    with pytest.raises(UsageError, match=r"\*\*\*") as caught:
        refuse_login(address, "GitRepo a", "Use a Secret.")
    assert not {"hunter2", "ghp_token", "pw", "abc"} & set(
        caught.value.summary.replace(":", "@").split("@")
    )


@pytest.mark.parametrize("address", WITHOUT_LOGIN)
def test_an_ordinary_address_has_no_login(address: str) -> None:
    assert not has_login(address)


@pytest.mark.parametrize("address", WITHOUT_LOGIN)
def test_an_ordinary_address_is_shown_as_it_is(address: str) -> None:
    assert redacted_login(address) == address.replace(
        "author=joe&file=web.tgz", "author=***&file=***"
    )


def test_a_user_that_repeats_the_path_is_dropped() -> None:
    """Azure DevOps gives this form; the user names the organization, which is no secret."""
    plain = "https://dev.azure.com/org/project/_git/repo"
    assert without_public_user(plain.replace("//", "//org@")) == plain
    for other in (
        plain,
        plain.replace("//", "//joe@"),
        plain.replace("//", "//org:@"),
        "ssh://a@h/a/b",
    ):
        assert without_public_user(other) == other
