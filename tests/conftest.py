"""Fixtures shared by all folders: the external tools and the real Kubernetes APIs."""

from __future__ import annotations

pytest_plugins = ["tests.support.kube"]
