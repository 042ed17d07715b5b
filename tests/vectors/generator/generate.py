# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes all test vectors anew (see ../README.md). Independent of the collection: it writes the formats by itself."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import documents
import policies
import sealed
import statements
import wrapped

FOLDER = Path(__file__).resolve().parent.parent


def main() -> None:
    for name, vectors in {
        **documents.FORMATS,
        **sealed.FORMATS,
        **statements.FORMATS,
        **policies.FORMATS,
        **wrapped.FORMATS,
    }.items():
        folder = FOLDER / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        made = list(vectors())
        assert len({vector[0] for vector in made}) == len(made), f"{name}: a name is used twice"
        for file_name, description, expected, data, more in made:
            vector = {"format": name, "description": description, "expected": expected, **_texts(more)}
            if isinstance(data, bytes):
                vector["data"] = base64.b64encode(data).decode()
            else:
                vector["document"] = data
            (folder / f"{file_name}.json").write_text(json.dumps(vector, indent=1, ensure_ascii=False) + "\n")


def _texts(more: dict) -> dict:
    return {
        name: base64.b64encode(value).decode() if isinstance(value, bytes) else value for name, value in more.items()
    }


if __name__ == "__main__":
    main()
