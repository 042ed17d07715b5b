# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decrypt messages, mailboxes and files with the keys of their owner.

1. The options are checked before a key is opened; nothing that is written lies in what is read, or in one another.
2. One run at a time works on the same outputs: one whose controller is gone may still be at work (``_data/lock.py``).
3. A source whose output is there as an earlier run left it is done: no key is needed for it (``_data/done.py``).
4. Sources that cannot be read are told. The keys are opened (``data_keys``): they stay in memory, or on their token.
5. Every source is decrypted by what knows its kind. What cannot be decrypted is an item with its reason, and the rest
   comes out; sources are only read.
6. Outputs appear whole, with mode 0600. What is there already and was not made here from this source is never
   replaced. What is known of a source is kept before its output gets its name: a kill between the two costs the work,
   and no more.
7. The report is put together from what is kept, so it is complete whichever run did the work; it replaces nothing but
   an earlier one.

In check mode everything is decrypted, too, and nothing is written: so it tells what can be opened.
"""

from __future__ import annotations

from ansible_collections.keyops.lifecycle.plugins.module_utils._data import lock
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import OptionError
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import data_keys, data_places
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.data_work import Work
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow.keys import lock_folder
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import FlowResult, HostTask


def run(task: HostTask) -> FlowResult:
    """See the module's docstring."""
    places = data_places.read(task.params)  # 1
    if task.check_mode or task.step == "close":  # nothing is written, or one file is removed
        return _run(task, places)
    with lock.held(places.state_dir, _locks(task, places)):  # 2
        return _run(task, places)


def _run(task: HostTask, places: data_places.Places) -> FlowResult:
    if places.folder is not None:
        # Not at the top: who decrypts with keys at hand gets none of the code that opens archived ones.
        from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import recover_data_case

        return recover_data_case.run(task, places)
    work = Work(task, places)
    if work.is_done():  # 3
        return work.result()
    if not task.params["keys"]:
        raise OptionError("keys: name the keys to decrypt with, or a request_id with vault and seal")
    work.look()
    with data_keys.opened(task.params["keys"], lock_folder(places.state_dir, task.check_mode)) as keys:  # 4
        work.decrypt(keys)
        return work.result()


def _locks(task: HostTask, places: data_places.Places) -> list[str]:
    if places.folder is not None:
        request_id = task.params["request_id"]
        return [f"folder {places.folder}", *([f"request {request_id}"] if request_id else [])]
    return ["\0".join(sorted(one.dest for one in places.sources))]
