# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prints the paths of all objects in a SQLite vault whose digests fit their names, without any code of the product."""

from __future__ import annotations

import hashlib
import sqlite3
import sys

with sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True) as vault:
    for path, content in vault.execute("SELECT path, content FROM object ORDER BY path"):
        # A sealed key's name is its digest.
        if not path.startswith("sealed/") or path == "sealed/" + hashlib.sha256(content).hexdigest():
            print(path)
