"""The status page in a real browser: rollouts beside what there is, text that would be markup stays
text, and nothing breaks its policy.
"""

from __future__ import annotations

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
    code = fleet.call("POST", "ui-code")["code"]
    login = httpx.post(f"{fleet.manager.url}/login", json={"code": code}, verify=False)
    assert login.status_code == 204
    with Browser(width) as browser:
        for name, value in login.cookies.items():
            browser.page(
                "Network.setCookie", name=name, value=value, url=fleet.manager.url, secure=True
            )
        browser.page("Page.navigate", url=fleet.manager.url)
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
