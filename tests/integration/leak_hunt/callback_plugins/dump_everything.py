# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A callback that writes down every event and all it can get from its arguments, as careless log collectors do."""

from __future__ import annotations

import json
import os

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    """One JSON line per event in the file that LEAK_HUNT_DUMP names."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "dump_everything"
    CALLBACK_NEEDS_ENABLED = True

    def v2_on_any(self, *args, **kwargs):
        line = json.dumps([_dumped(item) for item in (*args, *kwargs.values())], default=repr)
        with open(os.environ["LEAK_HUNT_DUMP"], "a", encoding="utf-8") as dump:
            dump.write(line + "\n")


def _dumped(item):
    shown = {"type": type(item).__name__, "repr": repr(item)}
    if hasattr(item, "dump_attrs"):  # a play, a task, an included file's task
        shown["attrs"] = item.dump_attrs()
    if hasattr(item, "task_fields"):  # a result
        shown.update(host=str(item.host), result=item.result, fields=item.task_fields, task=item.task.dump_attrs())
    return shown
