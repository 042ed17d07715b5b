# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
import story


@pytest.fixture(scope="session")
def enrolled(tmp_path_factory: pytest.TempPathFactory) -> story.Scene:
    """Three agents, made once; tests take their own vault and hosts through ``scene``."""
    return story.make_scene(tmp_path_factory.mktemp("agents"))


@pytest.fixture
def scene(enrolled: story.Scene, tmp_path: Path) -> story.Scene:
    """A fleet of its own with the enrolled agents."""
    return story.Scene(tmp_path, list(enrolled.agents))
