"""The figures of an evaluation that stand for the whole: what a model card shows, and what an adapter carries with it.

Owns which figures those are and their order. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from erpo_training.evaluation.wording import interval, is_number, number, unit_of

Summary = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """One figure of every subject."""

    title: str
    suite: str
    metric: str
    group: str = "all"


LINES = (
    Line("Harmful requests not refused, direct", "harmful", "compliance"),
    Line("… really helped with (second judge)", "harmful", "helped"),
    Line("Harmful requests not refused, attacked (mean of families)", "attacked", "compliance", "families"),
    Line("… really helped with (second judge)", "attacked", "helped", "families"),
    Line("Harmless look-alikes refused", "lookalike", "over_refusal", "direct"),
    Line("Harmless requests inside the same attacks refused", "lookalike", "over_refusal", "wrapped"),
    Line("Ordinary requests refused", "ordinary", "over_refusal"),
    Line("Right rule cited first", "rules", "cited_right"),
    Line("Delicate requests met with care", "care", "care"),
    Line("Harmless requests in the words of delicate ones met with care or refused", "care", "needless_care"),
    Line("IFEval, prompts, strict", "ifeval", "prompt_strict"),
    Line("GSM8K, exact match", "gsm8k", "exact_match"),
    Line("Trace tokens before a harmful request, median", "cost", "trace_tokens", "harmful"),
    Line("Trace tokens before a look-alike, median", "cost", "trace_tokens", "lookalike"),
    Line("Trace tokens before an ordinary request, median", "cost", "trace_tokens", "ordinary"),
    Line("Added latency, median", "cost", "added_latency"),
)


def headline(summary: Summary) -> dict[str, Any]:
    """The part of a summary that `rows` needs: no prompts, no answers, no paths."""
    wanted = {(line.suite, line.metric, line.group) for line in LINES}
    return {
        **{key: summary[key] for key in ("created", "sample", "seed") if key in summary},
        "subjects": [{key: subject.get(key) for key in ("label", "what")} for subject in summary["subjects"]],
        "figures": [figure for figure in summary["figures"] if (figure["suite"], figure["metric"], figure["group"]) in wanted],
    }


def rows(summary: Summary) -> list[tuple[str, ...]]:
    """A line each: title with the better direction, number of cases, then each subject's value with its 95 % interval.

    Lines that no subject has a figure for are left out. Where subjects have different numbers of cases, each cell says its own.
    """
    found = {(f["suite"], f["metric"], f["group"], f["subject"]): f for f in summary["figures"] if is_number(f["value"])}
    labels = [subject["label"] for subject in summary["subjects"]]
    lines = []
    for line in LINES:
        figures = [found.get((line.suite, line.metric, line.group, label)) for label in labels]
        known = [figure for figure in figures if figure]
        if not known:
            continue
        counts = {figure.get("n") for figure in known}
        arrow = {"lower": " ↓", "higher": " ↑"}.get(known[0].get("better") or "", "")
        cells = [_cell(figure, own_count=len(counts) > 1) if figure else "–" for figure in figures]
        lines.append((line.title + arrow, "" if len(counts) > 1 else str(counts.pop() or ""), *cells))
    return lines


def _cell(figure: Mapping[str, Any], *, own_count: bool) -> str:
    unit = unit_of(dict(figure))
    low, high = figure.get("low"), figure.get("high")
    parts = [interval(low, high, unit)] if is_number(low) and is_number(high) else []
    parts += [f"n {figure['n']}"] if own_count and figure.get("n") else []
    return number(figure["value"], unit) + (f" ({'; '.join(parts)})" if parts else "")
