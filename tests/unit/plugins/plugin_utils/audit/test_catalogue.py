# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The catalogue of findings and its page agree, and the role with itself."""

from __future__ import annotations

from pathlib import Path

import yaml

from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit import catalogue

PAGE = Path(__file__).parents[5] / "docs" / "audit.md"


def test_the_page_lists_every_kind() -> None:
    """docs/audit.md says the same as the catalogue."""
    rows = dict.fromkeys(line for line in PAGE.read_text().splitlines() if line.startswith("| KL"))
    assert list(rows) == [
        f"| {one.id} | `{one.slug}` | {one.severity} | {one.title} | {one.remedy} |" for one in catalogue.KINDS
    ]
    assert [one.id for one in catalogue.KINDS] == [f"KL{number:03}" for number in range(1, len(catalogue.KINDS) + 1)]
    assert len({one.slug for one in catalogue.KINDS}) == len(catalogue.KINDS)


def test_the_usual_paths_are_the_default() -> None:
    """Of the default, folders that are missing on a host are no finding; of a user's own list, they are."""
    role = PAGE.parents[1] / "roles" / "audit"
    default, usual = (yaml.safe_load((role / name / "main.yml").read_text()) for name in ("defaults", "vars"))
    assert usual["keyops_audit_usual_paths"] == default["keyops_audit_paths"]
