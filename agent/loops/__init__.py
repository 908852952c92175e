"""The loops of a running agent and the state that they share: poll, apply, observe, report,
upgrade.
"""
