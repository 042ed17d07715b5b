# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Requests of keys in files and on tokens; certificate_request.py alone takes files only, and is smaller to ship."""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import (
    certificate_request,
    certificate_request_tokens,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import FlowResult, HostTask


def run(task: HostTask) -> FlowResult:
    """As ``certificate_request.run``."""
    return certificate_request.run(task, certificate_request_tokens)
