"""Secrets that tools print are cut by their shape; words that only look like them stay."""

from __future__ import annotations

import time

import pytest

from fleetctl.core.redact import redacted

JWT = "eyJhbGciOiJSUzI1NiIsImtpZCI6IiJ9.eyJpc3MiOiJrdWJlcm5ldGVz.c2lnbmF0dXJl"
CUT = {
    "Get https://joe:hunter2@git.example.com/x: timeout": "Get https://***@git.example.com/x: timeout",
    f"Authorization: Bearer {JWT}": "Authorization: Bearer ***",
    f"token {JWT} is expired": "token *** is expired",
    "authorization: basic am9lOmh1bnRlcjI=": "authorization: basic ***",
    'values: {"password": "hunter2", "size": 3}': 'values: {"password": ***, "size": 3}',
    "dsn user=joe password=hunter2 host=db": "dsn user=joe password=*** host=db",
    "https://h/p?token=abcdef123&x=1": "https://h/p?token=***&x=1",
    "key: -----BEGIN EC PRIVATE KEY-----\nMIG\n-----END EC PRIVATE KEY----- end": "key: *** end",
    "cut off: -----BEGIN PRIVATE KEY-----\nMIG": "cut off: ***",
}
KEPT = (
    'secrets "web" is forbidden: User "system:serviceaccount:a:b" cannot list resource "secrets"',
    "helm.valuesFrom: Secret default/sizes does not exist",
    "the token was used up; ask for another: fleetctl cluster register paris",
    "basic authentication is needed",
    "https://git.example.com/team@2/x",
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
