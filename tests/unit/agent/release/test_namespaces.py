"""Which namespaces are never deleted."""

from __future__ import annotations

from agent.release.namespaces import DEFAULT_RULES, NamespaceRules, is_protected


def test_the_namespace_of_the_agent_is_protected() -> None:
    rules = NamespaceRules(own_namespace="fleet-system")
    assert is_protected("fleet-system", rules)
    assert not is_protected("fleet-system", DEFAULT_RULES)
    assert not is_protected("web", rules)


def test_the_namespaces_of_kubernetes_are_protected() -> None:
    assert all(is_protected(name, DEFAULT_RULES) for name in ("default", "kube-system"))
