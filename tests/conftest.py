"""Fixtures shared by all folders: the external tools, the real Kubernetes APIs, repositories and fleets."""

from __future__ import annotations

pytest_plugins = ["tests.support.kube", "tests.support.places"]
