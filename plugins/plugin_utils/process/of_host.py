# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host says of its own keys: it must have its form, and in a log that others read, its keys must be its own.

A host can say of any key that it has done something with it. It is believed of a key that it has archived, or that has
proven to sign when this host registered it; of any other the event says who says so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError
from ansible_collections.keyops.lifecycle.plugins.module_utils._formats.record import Record
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import records, signing_register
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.lifecycle_action import ControllerTask


@contextlib.contextmanager
def its_form(what: str) -> Iterator[None]:
    """For the block that looks at what a host says: a FormatError of it gets the remedy."""
    try:
        yield
    except FormatError as error:
        raise FormatError(
            f"what the host says of {what} does not have its form ({error}), and was not used: see what answers there "
            "in place of Python, and run again"
        ) from error


def told(task: ControllerTask, keys: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The pairs of an event of this task's host, key ID and what the host says of the key, in the order of ``keys``."""
    own = known(task, (key_id for key_id, dummy in keys))
    return [(key_id, text if key_id in own else claimed(text)) for key_id, text in keys]


def claimed(text: str) -> str:
    """As an event says what the vault does not know."""
    return f"the host says: {text}"


def known(task: ControllerTask, key_ids: Iterable[str]) -> set[str]:
    """Those that this host has registered or archived."""
    wanted = sorted(set(key_ids))
    if not wanted:
        return set()
    registered = signing_register.hosts_of(task.vault, wanted)
    archived = {
        key_id: {one.host for one in found if isinstance(one, Record)}
        for key_id, found in records.walk(task.vault, wanted).items()
    }
    return {one for one in wanted if task.host == registered.get(one) or task.host in archived[one]}
