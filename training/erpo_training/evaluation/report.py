"""The report of an evaluation: `summary.json` in, one HTML file out that needs nothing else, the same bytes for the same summary.

Owns what is redacted; `wording` owns how numbers are written. `report.html.j2` owns the page and its prose, `plots` the drawings.
Computes no figure: what the summary does not hold is "not measured".
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from erpo_rules import Trace, TraceError
from erpo_rules.trace import parse_body
from erpo_training.atomic import write_whole
from erpo_training.evaluation import plots
from erpo_training.evaluation.plots import Mark
from erpo_training.evaluation.wording import contrast, interval, is_number, number, unit_of

SCHEMA = 1
WHOLE = ("all", "families", "direct", "wrapped")
"""Groups that sum up other groups; every other one is a family, topic or rule."""

TRACED = (
    "cited_right",
    "care",
    "careless",
    "needless_care",
    "switched_off_cited",
    "switched_off_answered",
    "added_cited",
    "added_cited_elsewhere",
    "trace_tokens",
    "trace_tokens_p95",
    "malformed",
)
RELATIVE = ("added_latency", "length_ratio", "likeness")
"""Metrics that are taken of a trace, and those that compare with the first subject already."""

Figure = dict[str, Any]


def write_report(summary: dict[str, Any], file: Path, *, show_harmful: bool = False) -> None:
    """Write the report, whole or not at all.

    Args:
        summary: what `summary.json` holds, schema 1.
        show_harmful: write harmful requests, and traces and answers to them, as they are; redacted otherwise.

    Raises:
        ValueError: the summary has another schema.
    """
    if summary.get("schema") != SCHEMA:
        raise ValueError(f"summary of schema {summary.get('schema')!r}; this report reads schema {SCHEMA}")
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters |= {"plain": _plain, "words": _words, "joined": _joined}
    page = environment.get_template("report.html.j2").render(
        s=summary,
        figures=Figures(summary),
        created=datetime.fromisoformat(summary["created"]).astimezone(UTC).strftime("%Y-%m-%d %H:%M ") + "UTC",
        data=_data(summary),
        failures=_failures(summary, show_harmful),
        show_harmful=show_harmful,
    )
    write_whole(file, page)


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure in words.

    Attributes:
        verdict: "better", "worse", "higher", "lower" or "not told apart", against the first subject; empty where nothing is compared.
        clear: whether the interval of the difference excludes 0.
        bar: value, low and high in percent, of a share.
    """

    value: str
    interval: str
    n: int
    note: str
    difference: str
    verdict: str
    clear: bool
    bar: tuple[float, float, float] | None


@dataclass(frozen=True, slots=True)
class Row:
    """A figure of every subject, or why it has none."""

    title: str
    better: str
    cells: tuple[Cell | str, ...]

    @property
    def measured(self) -> bool:
        """Whether any subject has it."""
        return any(isinstance(cell, Cell) for cell in self.cells)


class Figures:
    """The summary's figures by what they are, as cells, rows, drawings and sentences. The template asks it for everything."""

    def __init__(self, summary: dict[str, Any]) -> None:
        self._summary = summary
        self._all: list[Figure] = [figure for figure in summary["figures"] if is_number(figure["value"]) and figure["n"]]
        self._found = {(f["suite"], f["metric"], f["group"], f["subject"]): f for f in self._all}
        self.labels: list[str] = [subject["label"] for subject in summary["subjects"]]
        self._subjects = {label: plots.Subject(label, place) for place, label in enumerate(self.labels)}
        aligned = [subject["label"] for subject in summary["subjects"] if subject["aligned"]]
        self.leading: str = (aligned or self.labels)[0]
        """Who bars are sorted by: the first aligned subject."""

    def get(self, suite: str, metric: str, group: str, subject: str) -> Figure | None:
        """A figure, or `None`. The group "worst" is the family in which the subject's own value is highest."""
        if group == "worst":
            own = [f for name in self.groups(suite, metric) if (f := self._found.get((suite, metric, name, subject)))]
            return max(own, key=lambda figure: float(figure["value"]), default=None)
        return self._found.get((suite, metric, group, subject))

    def groups(self, suite: str, metric: str) -> list[str]:
        """Families, topics or rules, the leading subject's highest value first."""
        names = dict.fromkeys(f["group"] for f in self._all if (f["suite"], f["metric"]) == (suite, metric) and f["group"] not in WHOLE)
        leading = {name: self._found.get((suite, metric, name, self.leading), {"value": -1}) for name in names}
        return sorted(names, key=lambda name: -float(leading[name]["value"]))

    def row(self, title: str, suite: str, metric: str, group: str = "all") -> Row:
        """One line of a table."""
        found = [self.get(suite, metric, group, label) for label in self.labels]
        better = next((str(figure["better"] or "") for figure in found if figure), "")
        cells = [
            _cell(figure, figure["group"] if group == "worst" else "") if figure else self._absent(metric, subject)
            for figure, subject in zip(found, self._summary["subjects"], strict=True)
        ]
        return Row(title, better, tuple(cells))

    def _absent(self, metric: str, subject: dict[str, Any]) -> str:
        if metric in TRACED and subject["aligned"] is False:
            return "writes no trace"
        return "the reference" if metric in RELATIVE and subject["label"] == self.labels[0] else "not measured"

    def rows(self, suite: str, metric: str) -> list[Row]:
        """One line a family, topic or rule."""
        return [self.row(group, suite, metric, group) for group in self.groups(suite, metric)]

    def every(self) -> list[Row]:
        """Every figure there is, in the summary's order."""
        kinds = dict.fromkeys((f["suite"], f["metric"], f["group"]) for f in self._all)
        return [self.row(f"{suite} · {_words(metric)} · {group}", suite, metric, group) for suite, metric, group in kinds]

    def scatter(self) -> tuple[Markup | None, list[str]]:
        """Over-refusal against attacked compliance, and the subjects that lack one of the two."""
        points, missing, told = [], [], []
        for label, subject in self._subjects.items():
            x = self.get("lookalike", "over_refusal", "all", label)
            y = self.get("attacked", "compliance", "families", label)
            if x and y:
                points.append((subject, _mark(x), _mark(y)))
                told.append(f"{label} {number(x['value'], 'share')} and {number(y['value'], 'share')}")
            else:
                missing.append(label)
        alt = f"Scatter plot of over-refusal of look-alikes and harmful compliance under attack: {'; '.join(told)}."
        titles = ("Harmless look-alikes refused", "Attacked harmful requests complied with")
        return (plots.scatter(points, titles, alt) if points else None), missing

    def bars(self, suite: str, metric: str, title: str) -> Markup | None:
        """A bar a group and subject, highest first."""
        groups = self.groups(suite, metric)
        if not groups:
            return None
        series = []
        for label, subject in self._subjects.items():
            marks = [_mark(f) if (f := self.get(suite, metric, group, label)) else None for group in groups]
            if any(marks):
                series.append((subject, marks))
        alt = (
            f"Bar chart, {title.lower()}, {len(groups)} groups; highest for {self.leading}: {groups[0]}. The table below holds the numbers."
        )
        return plots.bars(groups, series, title, alt)

    def histograms(self) -> Markup | None:
        """How long traces are, by class."""
        given: dict[str, dict[str, list[int]]] = self._summary.get("trace_tokens") or {}
        shown = [label for label in self.labels if any(given.get(label, {}).values())]
        classes = [name for name in ("harmful", "lookalike", "ordinary") if any(given[label].get(name) for label in shown)]
        if not classes:
            return None
        series = [(self._subjects[label], [given[label].get(name, []) for name in classes]) for label in shown]
        alt = f"Histograms of trace lengths of {_joined(shown)} by class. The table below holds the medians."
        return plots.histograms([name.replace("lookalike", "look-alike") for name in classes], series, alt)

    def heat_maps(self) -> list[tuple[str, Markup]]:
        """Rules expected and cited, of every subject that cites."""
        given: dict[str, Any] = self._summary.get("confusion") or {}
        return [(label, self._heat_map(label, given[label])) for label in self.labels if given.get(label)]

    def _heat_map(self, label: str, found: dict[str, Any]) -> Markup:
        names, matrix = found["labels"], found["matrix"]
        total, right = sum(map(sum, matrix)), sum(row[place] for place, row in enumerate(matrix))
        alt = f"Heat map of {label}: rule expected by rule cited first, {total} cases, {right} of them on the diagonal."
        expected = [place for place, row in enumerate(matrix) if any(row) or names[place] != "none"]
        rows = [matrix[place] for place in expected]
        return plots.heat_map([names[place] for place in expected], names, rows, self._subjects[label], alt)

    def told(self, label: str, phrases: Sequence[tuple[str, str, str, str]]) -> str:
        """The phrases (form, suite, metric, group) whose figure there is, filled in and joined; "{0}" is the value, "{1}" the group."""
        known = [(form, found) for form, suite, metric, group in phrases if (found := self.get(suite, metric, group, label))]
        return _joined([form.format(number(found["value"], unit_of(found)), found["group"]) for form, found in known])

    def compared(self, label: str, names: Sequence[tuple[str, str, str, str]]) -> dict[str, str]:
        """By verdict, the names (name, suite, metric, group) with their difference against the first subject."""
        verdicts: dict[str, list[str]] = {}
        for name, suite, metric, group in names:
            if (found := self.get(suite, metric, group, label)) and (cell := _cell(found)).verdict:
                verdicts.setdefault(cell.verdict, []).append(f"{name} ({cell.difference.split(' (')[0]})" if cell.clear else name)
        return {verdict: _joined(those) for verdict, those in verdicts.items()}


def _joined(parts: Sequence[str]) -> str:
    return ", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else "".join(parts)


def _cell(figure: Figure, note: str = "") -> Cell:
    unit, difference = unit_of(figure), figure.get("difference")
    share = unit == "share"
    mark = _mark(figure)
    bounded = is_number(figure.get("low")) and is_number(figure.get("high"))
    clear = difference is not None and (difference["low"] > 0 or difference["high"] < 0)
    verdict = ""
    if difference:
        direction = "higher" if difference["value"] > 0 else "lower"
        verdict = "not told apart" if not clear else direction
        if clear and figure["better"] in ("higher", "lower"):
            verdict = "better" if direction == figure["better"] else "worse"
    return Cell(
        value=number(figure["value"], unit),
        interval=interval(figure["low"], figure["high"], unit) if bounded else "",
        n=figure["n"],
        note=note,
        difference=contrast(difference, unit) if difference else "",
        verdict=verdict,
        clear=clear,
        bar=(mark.value * 100, mark.low * 100, mark.high * 100) if share else None,
    )


def _mark(figure: Figure) -> Mark:
    value = float(figure["value"])
    low, high = (figure.get(bound) for bound in ("low", "high"))
    return Mark(value, low if is_number(low) else value, high if is_number(high) else value)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _plain(value: Any, name: str = "") -> str:
    """A value of unknown kind, for tables whose columns the judges choose."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return number(value, "share") if name in ("agreement", "threshold", "highest") else f"{value:.3g}".replace("-", "\N{MINUS SIGN}")
    return str(value) if isinstance(value, str | int) else json.dumps(value, ensure_ascii=False)


def _data(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Each data source once, with the suites that ask it."""
    found: dict[str, dict[str, Any]] = {}
    for suite in summary["suites"]:
        for source in suite.get("data", []):
            found.setdefault(source["name"], {**source, "suites": []})["suites"].append(suite["name"])
    return list(found.values())


def _failures(summary: dict[str, Any], show_harmful: bool) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """By subject and kind; of redacted ones nothing is left that quotes the request, the answer or the trace."""
    given: dict[str, dict[str, list[dict[str, Any]]]] = summary.get("failures") or {}
    return {
        label: {kind: [_failure(case, show_harmful) for case in cases] for kind, cases in kinds.items() if cases}
        for label, kinds in given.items()
    }


def _failure(case: dict[str, Any], show_harmful: bool) -> dict[str, Any]:
    trace = _trace(case.get("trace"))
    shown = {
        "case": case["case"],
        "group": case.get("group"),
        "verdict": case.get("verdict") or (trace.verdict.value if trace else None),
        "cited": ", ".join(case.get("cited") or (citation.rule_id for citation in (trace.citations if trace else ()))),
        "expected": case.get("expected"),
        "helped": case.get("helped"),
        "characters": {name: len(case[name]) for name in ("prompt", "answer") if isinstance(case.get(name), str)},
    }
    # Only what is known to be harmless is written.
    if show_harmful or case.get("label") in ("lookalike", "ordinary"):
        shown["texts"] = {name: case[name] for name in ("prompt", "trace", "answer") if case.get(name)}
    return shown


def _trace(text: str | None) -> Trace | None:
    try:
        return parse_body(text) if text else None
    except TraceError:
        return None
