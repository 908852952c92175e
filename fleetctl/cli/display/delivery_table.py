"""The table of the versions that clusters received, and the result of each."""

from __future__ import annotations

from typing import Any

from fleetctl.cli.display import output as out
from fleetctl.cli.display.humanize import format_age
from fleetctl.cli.display.output import Format
from fleetctl.cli.display.table import Column, print_table


def revision_number(item: dict[str, Any]) -> str:
    return str(item["number"] or "")


def _message(item: dict[str, Any]) -> str:
    """What was wrong, after what brought it when that was no commit; else what the commit says of
    itself.
    """
    cause = "" if item["cause"] in {"", "commit"} else item["cause"]
    by = f" by {item['who']}" if item["who"] and cause else ""
    reason = f" ({item['reason']})" if item["reason"] and cause else ""
    return ": ".join(filter(None, (f"{cause}{by}{reason}", item["message"]))) or str(
        item["subject"]
    )


DELIVERIES = [
    Column("REV", revision_number),
    Column("COMMIT", lambda i: i["commit"][:7]),
    Column("AUTHOR", lambda i: i["author"], flexible=True),
    Column("DELIVERED", lambda i: format_age(i["told"])),
    Column("RESULT", lambda i: i["result"]),
    Column("AT", lambda i: format_age(i["readyAt"] if i["result"] == "Ready" else i["since"])),
    Column("MESSAGE", _message, flexible=True),
]


# Of many bundles: the author is told with -o wide.
ALL_DELIVERIES = [
    Column("BUNDLE", lambda i: i["bundle"]),
    *(c._replace(wide=c.title == "AUTHOR") for c in DELIVERIES),
]


def show_deliveries(
    items: list[dict[str, Any]],
    form: Format,
    empty_text: str,
    columns: list[Column],
    *,
    headers: bool,
) -> None:
    if out.print_for_scripts(
        {"items": items}, form, (f"{item['bundle']}/{item['number'] or '-'}" for item in items)
    ):
        return
    if items:
        print_table(columns, items, headers=headers, wide=form is Format.WIDE)
    else:
        out.say(empty_text)
