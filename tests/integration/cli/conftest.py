"""One HTTP side for all tests of a file; every test begins with an empty service and a person who
is logged in.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli.person import Person, Shop, logged_in


@pytest.fixture(scope="module")
def running_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    shop = Shop(tmp_path_factory.mktemp("shop"))
    yield shop
    shop.stop()


@pytest.fixture
def shop(running_shop: Shop) -> Shop:
    service = running_shop.service
    service.objects.clear()
    service.calls.clear()
    service.gone = {"bundles": [], "deployments": 0, "clusters": []}
    service.broken = None
    service.counts = {
        "gitrepos": {},
        "bundles": {},
        "clusters": {},
        "deployments": {},
        "attention": [],
    }
    service.whys.clear()
    return running_shop


@pytest.fixture
def person(tmp_path: Path, shop: Shop) -> Person:
    return logged_in(Person(tmp_path), shop)
