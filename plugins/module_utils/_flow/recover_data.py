# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decrypt messages, mailboxes and files with the keys of their owner.

1. The options are checked before a key is opened; a source and its output are never the same place.
2. A source whose output is there as an earlier run left it is done: no key is needed for it (``_data/done.py``).
3. The keys are opened (``data_keys``): they stay in memory, or on their token.
4. Every source is decrypted by what knows its kind. What cannot be decrypted is an item with its reason, and the rest
   comes out; sources are only read.
5. Outputs appear whole, with mode 0600. What is there already and was not made here from this source is never
   replaced. What is known of a source is kept before its output gets its name: a kill between the two costs the work,
   and no more.
6. The report is put together from what is kept, so it is complete whichever run did the work.

In check mode everything is decrypted, too, and nothing is written: so it tells what can be opened.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from ansible_collections.keyops.lifecycle.plugins.module_utils import _receipts
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.decryptor import Decryptor
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.outcome import Source
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import OptionError
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import data_keys
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.data_work import Work, absolute
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.keys import lock_folder
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import FlowResult, HostTask


def run(task: HostTask) -> FlowResult:
    """See the module's docstring."""
    sources = sources_of(task.params["sources"])  # 1
    if task.params["seal"] is not None:
        # Not at the top: who decrypts with keys at hand gets none of the code that opens archived ones.
        from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import recover_data_case

        return recover_data_case.run(task, sources, recover)
    work = Work(task, sources)
    if work.is_done():  # 2
        return work.result()
    if not task.params["keys"]:
        raise OptionError("keys: name the keys to decrypt with, or a request_id with vault and seal")
    state_dir = task.params["state_dir"] or _receipts.default_state_dir()
    with data_keys.opened(task.params["keys"], lock_folder(state_dir, task.check_mode)) as keys:  # 3
        return recover(task, sources, keys)


def recover(task: HostTask, sources: Sequence[Source], keys: Sequence[Decryptor]) -> FlowResult:
    """Decrypt all sources with these keys."""
    work = Work(task, sources)
    work.decrypt(keys)
    return work.result()


def sources_of(items: Sequence[dict]) -> list[Source]:
    """The option ``sources``.

    Raises:
        OptionError: a path is not absolute, or an output is a source or another output.
    """
    sources = []
    for number, item in enumerate(items):
        paths = [absolute(item[name], f"sources[{number}].{name}") for name in ("src", "dest")]
        files = tuple(item.get("files") or ())
        if files and item["kind"] != "ntfs":
            raise OptionError(f"sources[{number}].files: only files of an NTFS volume are chosen so; say kind: ntfs")
        sources.append(Source(paths[0], paths[1], item["kind"], files))
    outputs = [one.dest for one in sources]
    if len(set(outputs)) != len(outputs):
        raise OptionError("sources: two of them have the same dest")
    _require_apart({one.src for one in sources}, set(outputs))
    return sources


def _require_apart(sources: set[str], outputs: set[str]) -> None:
    for inner, others in ((sources, outputs), (outputs, sources)):
        for path in inner:
            above = path
            while above != "/":
                if above in others:
                    raise OptionError(f"sources: {path} and {above} are source and output, and lie in each other")
                above = os.path.dirname(above)
