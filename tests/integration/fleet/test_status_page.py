"""The status page in a real browser: rollouts beside what there is, text that would be markup stays
text, and nothing breaks its policy.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.cli.browser import CHROMIUM, Browser
from tests.support.fleet import Fleet
from tests.support.gitrepo import Clone

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {a: '1'}\n"
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"
STRATEGY = f"""
rolloutStrategy:
  maxUnavailable: 1
  approval: first
  partitions:
  - name: canary
    clusterSelector: {{matchLabels: {{canary: 'yes'}}}}
  - name: '{HOSTILE}'
    clusterSelector: {{}}
"""


def open_page(fleet: Fleet, browser: Browser) -> None:
    """Log the browser in and open the page."""
    code = fleet.call("POST", "ui-code")["code"]
    login = httpx.post(f"{fleet.manager.url}/login", json={"code": code}, verify=False)
    assert login.status_code == 204
    for name, value in login.cookies.items():
        browser.page(
            "Network.setCookie", name=name, value=value, url=fleet.manager.url, secure=True
        )
    browser.page("Page.navigate", url=fleet.manager.url)


@pytest.mark.parametrize("width", [1280, 390])
def test_rollouts_are_shown(clone: Clone, fleet: Fleet, tmp_path: Path, width: int) -> None:
    """What it waits for, partition by partition; a pause with its reason. It fits a phone."""
    clone.push({"m.yaml": MAP, "fleet.yaml": STRATEGY})
    fleet.gitrepo(clone.url)
    fleet.agent("b", None, target_dir=tmp_path / "b", canary="yes")
    for name in ("a", "c"):
        fleet.agent(name, None, target_dir=tmp_path / name)
    fleet.until(
        lambda: fleet.call("GET", "rollouts")["items"],
        lambda items: items and "waits for approval" in items[0]["status"]["display"]["message"],
    )
    with Browser(width) as browser:
        open_page(fleet, browser)
        text = "document.body.innerText"
        browser.until(f"{text}.includes('waits for approval')")
        browser.until(f"{text}.includes('waits for approval')")
        assert browser.evaluate(
            "[...document.querySelectorAll('.parts b')].map((b) => b.textContent)"
        ) == ["canary", HOSTILE]
        assert (
            browser.evaluate(
                "document.querySelectorAll('main script, main img, main [onerror]').length"
            )
            == 0
        )
        fleet.call("POST", "rollouts/fleet-default/apps/pause", {"reason": HOSTILE})
        browser.until(f"{text}.includes('the rollout is paused: <img src=x')")
        browser.picture(tmp_path / f"page-{width}.png")
        wide = browser.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"the page is {wide} wide"
        assert browser.problems == []


def test_a_large_list_is_loaded_in_pages(fleet: Fleet) -> None:
    """The counts are of all clusters; a filter by a label finds one that is not loaded; more rows
    are shown on request.
    """

    def put_cluster(number: int) -> None:
        name, labels = f"n-{number:03}", {"last": "yes"} if number == 509 else {}
        head = {"apiVersion": "fleet.cattle.io/v1alpha1", "kind": "Cluster"}
        document = {**head, "metadata": {"name": name, "labels": labels}, "spec": {}}
        fleet.call("PUT", f"objects/clusters/fleet-default/{name}", document)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(put_cluster, range(510)))
    with Browser(1280) as browser:
        open_page(fleet, browser)
        text = "document.body.innerText"
        rows = "document.querySelectorAll('.done.clusters').length"
        browser.until(f"{text}.includes('first 200 of 510')")
        assert browser.evaluate(f"{text}.includes('510 WaitCheckIn')")
        assert not browser.evaluate(f"{text}.includes('n-509')")
        for count in (400, 510):
            browser.evaluate("document.querySelector('main button').click()")
            browser.until(f"{rows} === {count}")
        field = "document.getElementById('filter')"
        browser.evaluate(f"{field}.value = 'last=yes', {field}.dispatchEvent(new Event('input'))")
        browser.until(f"{rows} === 1 && {text}.includes('n-509')")
        assert browser.problems == []
