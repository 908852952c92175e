"""Floats as Go prints them. On its own, because the YAML reader starts with it in short-lived
processes.
"""

from __future__ import annotations


def number(value: float, big: int = 6, small: int = -4) -> str:
    """A float64 by `%v`: the shortest digits that read back, with an exponent below `small` and
    from `big` on.
    """
    if value != value:  # noqa: PLR0124 - NaN
        return "NaN"
    if value in {float("inf"), float("-inf")}:
        return "+Inf" if value > 0 else "-Inf"
    digits, exponent = f"{value!r}".lower(), 0
    sign = "-" if digits.startswith("-") else ""
    digits = digits.lstrip("-")
    if "e" in digits:
        digits, _, power = digits.partition("e")
        exponent = int(power)
    whole, _, rest = digits.partition(".")
    rest = rest.rstrip("0") if rest else ""
    plain = (whole + rest).lstrip("0")
    if not plain:
        return sign + "0"
    exponent += len(whole) - 1 if whole.strip("0") else -(len(rest) - len(rest.lstrip("0"))) - 1
    plain = plain.rstrip("0") or "0"
    if exponent < small or exponent >= big:
        mantissa = plain[0] + ("." + plain[1:] if len(plain) > 1 else "")
        return f"{sign}{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{plain}"
    body = plain.ljust(exponent + 1, "0")
    return (
        sign
        + body[: exponent + 1]
        + ("." + body[exponent + 1 :] if len(body) > exponent + 1 else "")
    )
