# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The audit's page in a real browser: both colour schemes, a narrow window, filtered and sorted by script, no errors.

Pictures go to .build/report/, to be looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import report_data
from browser import Browser

from ansible_collections.keyops.lifecycle.plugins.plugin_utils.report.page import page

PICTURES = Path(__file__).resolve().parents[2] / ".build" / "report"
OUTCOME, HISTORY = report_data.rendered(hosts=8, keys=160)
VIEWS = {"light": (1400, 2200, "light"), "dark": (1400, 2200, "dark"), "narrow": (390, 3000, "light")}

#: Contrast of every text with what lies behind it (WCAG 2.1, 1.4.3): those below 4.5 to 1.
_CONTRAST = """
(() => {
  const channels = (text) => (text.match(/[0-9.]+/g) || []).map(Number);
  const part = (value) => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = (rgb) => 0.2126 * part(rgb[0]) + 0.7152 * part(rgb[1]) + 0.0722 * part(rgb[2]);
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const found = channels(getComputedStyle(one).backgroundColor);
      if (found.length === 3 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const bad = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || ["SCRIPT", "STYLE", "TITLE"].includes(element.tagName.toUpperCase())) continue;
    const style = getComputedStyle(element);
    const ink = light(channels(element.tagName === "text" ? style.fill : style.color)), page = light(behind(element));
    const ratio = (Math.max(ink, page) + 0.05) / (Math.min(ink, page) + 0.05);
    if (ratio < 4.5) bad.add(`${element.tagName}.${element.className}: ${ratio.toFixed(2)}`);
  }
  return [...bad];
})()
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page(OUTCOME, HISTORY, "Private keys of the fleet"), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def opened(file: Path) -> Iterator[Browser]:
    with Browser(file.parent / "profile") as browser:
        browser.open(file)
        yield browser


@pytest.mark.parametrize("view", VIEWS)
def test_drawn_in_every_window(opened: Browser, view: str) -> None:
    width, *dummy = VIEWS[view]
    opened.look(*VIEWS[view])
    PICTURES.mkdir(parents=True, exist_ok=True)
    opened.picture(PICTURES / f"{view}.png")
    assert opened.run("document.documentElement.scrollWidth") <= width, "the page itself does not scroll sideways"
    assert opened.run("document.querySelectorAll('svg rect').length") > 20
    colour = opened.run("getComputedStyle(document.body).backgroundColor")
    assert (colour == "rgb(17, 21, 26)") == (view == "dark")
    assert opened.run(_CONTRAST) == []


def _rows(opened: Browser, table: str) -> int:
    return opened.run(f"[...document.querySelectorAll('#{table} tbody tr')].filter(row => !row.hidden).length")


def _choose(opened: Browser, table: str, name: str, value: str) -> None:
    """As a user does: the field has the value and says so."""
    field = f"document.querySelector('[data-table={table}] [data-filter={name}]')"
    opened.run(f"{{ const f = {field}; f.value = {value!r}; f.dispatchEvent(new Event('input', {{bubbles: true}})); }}")


def test_filters(opened: Browser) -> None:
    everything = len(OUTCOME["keys"])
    assert _rows(opened, "keys-table") == everything and _rows(opened, "findings-table") == len(OUTCOME["findings"])
    for name, member in (("usage", "usage"), ("algorithm", "algorithm"), ("host", "host")):
        value = OUTCOME["keys"][7][member]
        _choose(opened, "keys-table", name, value)
        assert _rows(opened, "keys-table") == sum(row[member] == value for row in OUTCOME["keys"])
        _choose(opened, "keys-table", name, "")
    _choose(opened, "keys-table", "text", OUTCOME["keys"][3]["key_id"])
    assert _rows(opened, "keys-table") == 1
    told = "document.querySelector('[data-table=keys-table] output').textContent"
    assert opened.run(told) == f"1 of {everything}"
    _choose(opened, "keys-table", "text", "no such key")
    assert _rows(opened, "keys-table") == 0
    _choose(opened, "keys-table", "text", "")
    _choose(opened, "findings-table", "severity", "high")
    high = [row for row in OUTCOME["findings"] if row["severity"] == "high"]
    assert _rows(opened, "findings-table") == len(high)
    _choose(opened, "findings-table", "accepted", "yes")
    assert _rows(opened, "findings-table") == 1
    for name in ("severity", "accepted"):
        _choose(opened, "findings-table", name, "")


def test_sorts_by_keyboard_too(opened: Browser) -> None:
    column = "[...document.querySelectorAll('#keys-table tbody tr')].map(row => Number(row.cells[7].dataset.value))"
    button = "document.querySelectorAll('#keys-table th')[7].querySelector('button')"
    ages = sorted(-1 if row["age_days"] is None else row["age_days"] for row in OUTCOME["keys"])
    opened.run(f"{button}.click()")
    assert opened.run(column) == ages
    assert opened.run(f"{button}.parentElement.getAttribute('aria-sort')") == "ascending"
    opened.run(f"{button}.focus()")
    for kind in ("keyDown", "keyUp"):
        opened.ask("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r")
    assert opened.run(column) == ages[::-1]
    severity = (
        "[...document.querySelectorAll('#findings-table tbody tr')].map(row => Number(row.cells[0].dataset.value))"
    )
    opened.run("document.querySelectorAll('#findings-table th')[0].querySelector('button').click()")
    order = opened.run(severity)
    assert order == sorted(order)


def test_sorts_in_a_narrow_window_too(opened: Browser) -> None:
    """There the header is not shown; a choice stands beside the filters, and nowhere else."""
    select = "document.querySelector('[data-table=keys-table] .sorter select')"
    shown = f"getComputedStyle({select}.parentElement).display"
    opened.look(*VIEWS["light"])
    assert opened.run(shown) == "none"
    opened.look(*VIEWS["narrow"])
    assert opened.run(shown) == "grid" and opened.run(f"{select}.getBoundingClientRect().width") > 200
    column = "[...document.querySelectorAll('#keys-table tbody tr')].map(row => Number(row.cells[7].dataset.value))"
    ages = sorted(-1 if row["age_days"] is None else row["age_days"] for row in OUTCOME["keys"])
    for way, wanted in (("descending", ages[::-1]), ("ascending", ages)):
        option = f"[...{select}.options].find(one => one.text === 'Age (days), {way}').value"
        opened.run(f"{{ {select}.value = {option}; {select}.dispatchEvent(new Event('change', {{bubbles: true}})); }}")
        assert opened.run(column) == wanted
        assert opened.run("document.querySelectorAll('#keys-table th')[7].getAttribute('aria-sort')") == way


def test_one_chart_alone_is_no_larger_and_the_page_says_where_the_others_are(opened: Browser, tmp_path: Path) -> None:
    """As in the first audit without a vault and a policy."""
    alone = {
        **OUTCOME,
        **{"policy": None, "vault": None, "keys": [{**row, "period_days": None} for row in OUTCOME["keys"]]},
        "summary": {**OUTCOME["summary"], "archived": None},
    }
    path = tmp_path / "alone.html"
    path.write_text(page(alone, HISTORY[:1], "Private keys of the fleet"), encoding="utf-8")
    opened.open(path)
    opened.look(*VIEWS["light"])
    opened.picture(PICTURES / "alone.png")
    assert opened.run("document.querySelectorAll('.chart').length") == 1
    letters = "document.querySelector('.chart text').getBoundingClientRect().height"
    assert 10 < opened.run(letters) < 20
    told = opened.run("document.querySelector('.missing').textContent")
    for words in ("No vault was given", "No policy was given", "first audit that was kept"):
        assert words in told
    opened.look(1000, 1400, "light")
    assert opened.run(letters) < 20
    opened.requests.clear()


def test_hostile_texts_ran_nothing_and_nothing_was_asked_for(opened: Browser, file: Path) -> None:
    opened.open(file)
    assert opened.run("typeof window.hacked") == "undefined"
    assert opened.run("document.querySelectorAll('script, img, iframe, svg[onload]').length") == 1
    assert opened.run("document.querySelectorAll('[onmouseover], [onerror], [onload]').length") == 0
    shown = opened.run("document.querySelector('#keys-table').textContent")
    for hostile in report_data.HOSTILE:
        assert hostile in shown
    assert opened.errors == []
    assert set(opened.requests) == {file.as_uri()}


def test_a_script_that_is_not_ours_does_not_run(opened: Browser, tmp_path: Path, file: Path) -> None:
    """Even if escaping failed: the page's own policy runs one script only."""
    broken = tmp_path / "broken.html"
    broken.write_text(file.read_text().replace("</main>", "<script>window.hacked=1</script></main>"))
    opened.open(broken)
    assert opened.run("typeof window.hacked") == "undefined"
    assert any("Content Security Policy" in error for error in opened.errors)
