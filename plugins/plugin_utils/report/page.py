# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The audit as one page: an HTML file with everything in it, which works offline and opens no connection.

Subjects, paths and reasons are other people's texts. Three things keep them from being more than text: the template
escapes every value (autoescape), no value stands inside a script or style, and the page's own policy
(Content-Security-Policy) runs one script, named by its digest, and loads nothing.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import note_missing_library
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.catalogue import SEVERITIES
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.report.charts import WIDTH, charts, missing

try:
    import jinja2
    import markupsafe
except ImportError as error:
    note_missing_library(error)

_FOLDER = Path(__file__).parent
#: Rows of one table; with more, a browser gets slow. What is beyond is counted on the page and stands in audit.json.
_MOST_ROWS = 5_000
#: Hosts with a section of their own, and rows in each.
_MOST_HOSTS, _MOST_HOST_ROWS = 300, 50


def page(audit: Mapping, history: Sequence[Mapping], title: str) -> str:
    """The page's HTML.

    Args:
        audit: the outcome (audit.json).
        history: time and summary of past audits, the oldest first.
    """
    script = (_FOLDER / "page.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return _template().render(
        audit=audit,
        title=title,
        charts=charts(audit, history),
        chart_width=WIDTH,
        missing=missing(audit, history),
        severities=[*reversed(SEVERITIES)],
        findings=audit["findings"][:_MOST_ROWS],
        keys=audit["keys"][:_MOST_ROWS],
        most=_MOST_ROWS,
        most_host_rows=_MOST_HOST_ROWS,
        hosts=_hosts(audit),
        script=_own(script),
        style=_own((_FOLDER / "page.css").read_text("utf-8")),
        digest=digest,
    )


def _hosts(audit: Mapping) -> list[dict]:
    """What each host's section shows."""
    keys: dict[str, list] = {}
    findings: dict[str, list] = {}
    for row in audit["keys"]:
        keys.setdefault(row["host"], []).append(row)
    for row in audit["findings"]:
        findings.setdefault(row["host"], []).append(row)
    return [
        {**host, "number": number, "rows": keys.get(host["host"], []), "findings": findings.get(host["host"], [])}
        for number, host in enumerate(audit["hosts"][:_MOST_HOSTS])
    ]


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["words"] = lambda text: str(text).replace("_", " ")
    return environment.get_template("page.html.j2")


def _own(text: str) -> object:
    """Our own style or script, as it is. Nothing else goes through here."""
    return markupsafe.Markup(text)  # noqa: S704  # a file of this folder, never a value
