# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page's charts as numbers: what is drawn where. The template turns them into SVG and into tables beside it.

Lengths are in the units of each chart's view box, whose width is always 640.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit.catalogue import SEVERITIES

WIDTH = 640
_LABELS, _ROW, _BAR = 180, 34, 20
_HEIGHT, _FOOT, _LEFT = 200, 26, 56
#: Algorithms with a colour of their own; the rest is "other".
_MOST = 6
#: Past audits in the chart.
_AUDITS = 30
_SHARES = (
    ("< 25 %", 0.25),
    ("< 50 %", 0.5),
    ("< 75 %", 0.75),
    ("< 100 %", 1.0),
)


@dataclass(frozen=True)
class Box:
    """A rectangle of a chart.

    Attributes:
        style: class of its colour.
        label: what it stands for, with its number.
    """

    x: float
    y: float
    width: float
    height: float
    style: str
    label: str


@dataclass(frozen=True)
class Text:
    """A word in a chart; ``anchor`` is SVG's text-anchor."""

    x: float
    y: float
    text: str
    anchor: str = "start"


@dataclass(frozen=True)
class Chart:
    """One chart, with the table of what it shows.

    Attributes:
        legend: pairs of colour class and word.
        lines: heights of horizontal lines.
    """

    name: str
    title: str
    summary: str
    height: float
    boxes: tuple[Box, ...]
    texts: tuple[Text, ...]
    legend: tuple[tuple[str, str], ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[float, ...] = ()


def charts(audit: Mapping, history: Sequence[Mapping]) -> list[Chart]:
    """The page's charts; those that have nothing to show are left out."""
    found = [_usages(audit["keys"]), _archive(audit), _ages(audit["keys"]), _over_time(history)]
    return [one for one in found if one is not None]


def missing(audit: Mapping, history: Sequence[Mapping]) -> list[str]:
    """Why a chart is left out, one sentence each."""
    archive = "No vault was given" if audit["summary"]["archived"] is None else "No encryption key was found"
    ages = "No key has both a known age and a cryptoperiod" if audit["policy"] else "No policy was given"
    told = (
        (_usages(audit["keys"]), "No private key was found, so there is no chart of usages and algorithms."),
        (_archive(audit), f"{archive}, so there is no chart of the archive's coverage."),
        (_ages(audit["keys"]), f"{ages}, so there is no chart of ages against cryptoperiods."),
        (_over_time(history), "This is the first audit that was kept, so there is no chart of findings over time."),
    )
    return [text for chart, text in told if chart is None]


def _usages(keys: Sequence[Mapping]) -> Chart | None:
    counted = Counter((row["usage"] or "unknown", row["algorithm"] or "unreadable") for row in keys)
    if not counted:
        return None
    algorithms = Counter(row["algorithm"] or "unreadable" for row in keys)
    first = [name for name, dummy in algorithms.most_common(_MOST)]
    style = {name: f"c{number}" for number, name in enumerate(first)}
    usages = sorted({usage for usage, dummy in counted}, key=lambda name: -_total(counted, name))
    most = max(_total(counted, usage) for usage in usages)
    boxes, texts = [], []
    for number, usage in enumerate(usages):
        x, y = float(_LABELS), number * _ROW + 6.0
        texts.append(Text(_LABELS - 8, y + 15, usage.replace("_", " "), "end"))
        for algorithm in [*first, *sorted(set(algorithms) - set(first))]:
            count = counted[usage, algorithm]
            width = count / most * (WIDTH - _LABELS - 50)
            if count:
                boxes.append(Box(x, y, width, _BAR, style.get(algorithm, "c6"), f"{usage}, {algorithm}: {count}"))
                x += width
        texts.append(Text(x + 6, y + 15, str(_total(counted, usage))))
    legend = [(style[name], name) for name in first] + ([("c6", "other")] if len(algorithms) > _MOST else [])
    rows = [(usage, name, str(count)) for (usage, name), count in sorted(counted.items())]
    told = ", ".join(f"{usage.replace('_', ' ')} {_total(counted, usage)}" for usage in usages)
    return Chart(
        name="usages",
        title="Keys by usage and algorithm",
        summary=f"Places of private keys: {told}.",
        height=len(usages) * _ROW + 6.0,
        boxes=tuple(boxes),
        texts=tuple(texts),
        legend=tuple(legend),
        columns=("Usage", "Algorithm", "Places"),
        rows=tuple(rows),
    )


def _total(counted: Counter, usage: str) -> int:
    return sum(count for (name, dummy), count in counted.items() if name == usage)


def _archive(audit: Mapping) -> Chart | None:
    needed, archived = audit["summary"]["encryption_keys"], audit["summary"]["archived"]
    if archived is None or not needed:
        return None
    parts = (("archived", archived, "good"), ("not archived", needed - archived, "bad"))
    boxes, texts, x = [], [], 0.0
    for name, count, style in parts:
        width = count / needed * WIDTH
        if count:
            boxes.append(Box(x, 6, width, 40, style, f"{name}: {count}"))
        x += width
    texts.append(Text(0, 74, f"{archived / needed:.0%} of {needed} encryption keys are archived"))
    rows = tuple((name, str(count)) for name, count, dummy in parts)
    return Chart(
        name="archive",
        title="Archive coverage",
        summary=f"{archived} of {needed} encryption keys are archived.",
        height=84.0,
        boxes=tuple(boxes),
        texts=tuple(texts),
        legend=(("good", "archived"), ("bad", "not archived")),
        columns=("Encryption keys", "Number"),
        rows=rows,
    )


def _ages(keys: Sequence[Mapping]) -> Chart | None:
    names = [*(name for name, dummy in _SHARES), "over"]
    counted = Counter(
        _share(row["age_days"] / row["period_days"])
        for row in keys
        if row["age_days"] is not None and row["period_days"]
    )
    without = sum(row["period_days"] is None for row in keys)
    if not counted:
        return None
    columns = [[(name, counted[name], "bad" if name == "over" else "c0")] for name in names]
    told = f"Past their cryptoperiod: {counted['over']}. Without one, or of unknown age: {without}."
    rows = tuple((name, str(counted[name])) for name in names)
    return _column_chart(
        *("ages", "Age against cryptoperiod", told, names, columns),
        *((("c0", "within"), ("bad", "past it")), ("Part of the cryptoperiod", "Places"), rows),
    )


def _share(part: float) -> str:
    return next((name for name, limit in _SHARES if part < limit), "over")


def _over_time(history: Sequence[Mapping]) -> Chart | None:
    past = list(history)[-_AUDITS:]
    if len(past) < 2:
        return None
    columns, names, rows = [], [], []
    for one in past:
        counted = one["summary"]["findings"]
        columns.append([(severity, counted.get(severity, 0), severity) for severity in SEVERITIES])
        names.append(one["time"][:10])
        part = " (--limit)" if "limit" in one else ""
        rows.append((one["time"] + part, *(str(counted.get(severity, 0)) for severity in reversed(SEVERITIES))))
    first, last = (sum(one["summary"]["findings"].values()) for one in (past[0], past[-1]))
    told = f"{len(past)} audits: from {first} findings on {names[0]} to {last} on {names[-1]}."
    parts = sum("limit" in one for one in past)
    told += f" {parts} of them saw a part of the fleet (--limit)." if parts else ""
    shown = [names[0], *([""] * (len(names) - 2)), names[-1]]
    legend = tuple((severity, severity) for severity in reversed(SEVERITIES))
    return _column_chart(
        *("history", "Findings over time", told, shown, columns, legend),
        *(("Audit", *reversed(SEVERITIES)), tuple(rows)),
    )


def _column_chart(
    name: str,
    title: str,
    summary: str,
    names: Sequence[str],
    columns: Sequence[Sequence[tuple[str, int, str]]],
    legend: tuple[tuple[str, str], ...],
    heads: tuple[str, ...],
    rows: tuple[tuple[str, ...], ...],
) -> Chart:
    """Columns of stacked parts, each (word, number, colour class), over their names."""
    most = max([sum(count for dummy, count, dummy2 in parts) for parts in columns] + [1])
    top, floor = 16.0, float(_HEIGHT - _FOOT)
    scale, step = (floor - top) / most, (WIDTH - _LEFT) / len(columns)
    boxes, texts = [], [Text(_LEFT - 6, top + 4, str(most), "end"), Text(_LEFT - 6, floor, "0", "end")]
    for number, parts in enumerate(columns):
        x, y = _LEFT + number * step + step * 0.12, floor
        for word, count, style in parts:
            if count:
                y -= count * scale
                boxes.append(
                    Box(x, y, step * 0.76, count * scale, style, f"{names[number] or rows[number][0]}, {word}: {count}")
                )
        anchor = "start" if number == 0 and len(columns) > 8 else "end" if number == len(columns) - 1 > 8 else "middle"
        middle = {"start": x, "end": x + step * 0.76, "middle": x + step * 0.38}[anchor]
        texts.append(Text(middle, _HEIGHT - 8, names[number], anchor))
    return Chart(
        *(name, title, summary, float(_HEIGHT), tuple(boxes), tuple(texts), legend, heads, rows), lines=(top, floor)
    )
