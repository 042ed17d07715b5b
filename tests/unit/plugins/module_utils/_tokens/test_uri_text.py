# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""URIs of found keys name them, whatever their labels are."""

from __future__ import annotations

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import uri


@pytest.mark.parametrize("label", ["mail", "Büro; id=1?x&y", "%41 b/c=d"])
@pytest.mark.parametrize("object_id", ["", "00ff41"])
def test_a_found_key_is_named(label, object_id):
    text = uri.text_of("/usr/lib/a b.so", "4f2a", label, label, object_id)
    named = uri.parse(text)
    assert (named.token, named.serial, named.label, named.module_path) == (label, "4f2a", label, "/usr/lib/a b.so")
    assert named.object_id == (bytes.fromhex(object_id) if object_id else None)
