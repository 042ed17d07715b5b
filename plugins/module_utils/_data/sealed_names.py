# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files that a sealed folder has beside the outputs (docs/formats.md, "Recovered data")."""

from __future__ import annotations

SUMMARY, OUTPUTS, SOURCES = "summary.json", "outputs.sha256", "sources.sha256"
ALL = (SUMMARY, OUTPUTS, SOURCES)
