"""The whole way of an evaluation, readable here: suites → cases → every subject's outputs → judgements → figures → summary and report.

Everything that takes long is kept in the run folder as it is made (completions, an endpoint's answers, a judging model's replies), so a
run that was killed goes on when it is started again. Owns the folder's layout; the steps know nothing of one another.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from erpo_rules import Rulebook
from erpo_training.atomic import write_whole
from erpo_training.data.items import load_corpus, load_wrappers
from erpo_training.data.sources import SOURCES
from erpo_training.evaluation import endpoint, local
from erpo_training.evaluation.case import Case, Label, Output
from erpo_training.evaluation.cases import Drawn, draw
from erpo_training.evaluation.contamination import overlap
from erpo_training.evaluation.failures import failures
from erpo_training.evaluation.figures import Asked, figures, trace_tokens
from erpo_training.evaluation.gates import Gate, Outcome, check
from erpo_training.evaluation.judgement import Judgement, judge
from erpo_training.evaluation.judges import llm
from erpo_training.evaluation.judges.helped import HELPED_THRESHOLD
from erpo_training.evaluation.latency import Timing, interleaved
from erpo_training.evaluation.report import write_report
from erpo_training.evaluation.sets import prompt_sets
from erpo_training.evaluation.subject import Endpoint, Local, Subject, SubjectError
from erpo_training.evaluation.suite import Measure, Suite, SuiteError
from erpo_training.machine import accelerator, processor, versions
from erpo_training.progress import progress

Say = Callable[[str], None]

SUMMARY = "summary.json"
REPORT = "report.html"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked of whom.

    Attributes:
        subjects: the first is what the others are compared with.
        data: folder of the third-party sets.
        trained: folder of the third-party training sets, to look for overlap with.
        everything: every row of every set, instead of the suites' samples.
        most: at most this many cases of each part, for a trial.
        judge: endpoint of a language model that judges too.
        command: how a reader repeats the run.
    """

    subjects: tuple[Subject, ...]
    suites: tuple[Suite, ...]
    rulebook: Rulebook
    data: Path | None = None
    trained: Path | None = None
    seed: int = 0
    everything: bool = False
    most: int | None = None
    gates: tuple[Gate, ...] = ()
    judge: llm.Endpoint | None = None
    show_harmful: bool = False
    command: str = "erpo eval"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a run found: the summary as written, and whether the gates hold."""

    summary: dict[str, Any]
    report: Path
    outcomes: tuple[Outcome, ...]

    @property
    def holds(self) -> bool:
        """Whether every gate does."""
        return all(outcome.holds for outcome in self.outcomes)


def evaluate(plan: Plan, folder: Path, say: Say = print) -> Evaluation:
    """Run, or go on with, an evaluation in `folder`.

    Raises:
        SuiteError, SetError, SubjectError, SamplingError, JudgeError, CheckerError: one line that says what to do; what was made is kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if twice := [name for name, count in Counter(suite.name for suite in plan.suites).items() if count > 1]:
        raise SuiteError(f"two suites are called {twice[0]!r}; give each a 'name' of its own")
    try:
        with FileLock(folder / ".lock", timeout=0):
            return _evaluate(plan, folder, say)
    except Timeout as error:
        raise SubjectError(f"{folder}: another evaluation is running in this folder; wait for it, or name another with --output") from error


def _evaluate(plan: Plan, folder: Path, say: Say) -> Evaluation:
    begun = time.monotonic()
    drawn = [draw(suite, plan.data, plan.seed, rulebook=plan.rulebook, everything=plan.everything, most=plan.most) for suite in plan.suites]
    for one in drawn:
        for missing in one.missing:
            say(f"{one.suite.name}: not measured: {missing}")
    answered = [one for one in drawn if one.suite.measure is not Measure.COST]
    cases = [case for one in answered for case in one.cases]
    say(f"{len(cases)} cases in {len(answered)} suites for {', '.join(subject.label for subject in plan.subjects)}")
    _write_lines(folder / "cases.jsonl", (asdict(case) for case in cases))

    outputs = {subject.label: _outputs(subject, cases, plan.rulebook, folder / subject.label) for subject in plan.subjects}
    say("judging answers")
    judgements = {subject: judge(subject, cases, those) for subject, those in outputs.items()}
    if plan.judge:
        judgements = _with_llm(plan.judge, cases, outputs, judgements, plan.rulebook, folder)
    _write_lines(folder / "judgements.jsonl", (asdict(one) for those in judgements.values() for one in those.values()))

    timings, untimed = _timings(plan, [one for one in drawn if one.suite.measure is Measure.COST], folder)
    asked = [_asked(one, outputs, judgements) for one in answered]
    found = figures(asked, timings, plan.subjects[0].label, plan.seed)
    outcomes = check(plan.gates, found, [subject.label for subject in plan.subjects])
    summary = {
        "schema": 1,
        "created": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "command": plan.command,
        "seed": plan.seed,
        "sample": "everything" if plan.everything else "development" + (f", at most {plan.most} a part" if plan.most else ""),
        "seconds": round(time.monotonic() - begun, 1),
        "machine": {"cpu": processor(), "cores": len(os.sched_getaffinity(0)), "accelerator": accelerator()},
        "versions": versions(),
        "rulebook": {"id": plan.rulebook.id, "version": plan.rulebook.version, "sha256": plan.rulebook.sha256},
        "subjects": [_subject(subject) for subject in plan.subjects],
        "suites": [_suite(one, untimed) for one in drawn],
        "figures": [asdict(figure) for figure in found],
        "confusion": _confusion(asked, plan.rulebook),
        "trace_tokens": trace_tokens(asked),
        "unanswered": {subject: sum(bool(output.error) for output in those.values()) for subject, those in outputs.items()},
        "judges": _judges(asked, judgements, plan.judge),
        "contamination": [asdict(one) for one in _contamination(answered, plan.trained)],
        "failures": {subject.label: failures(subject.label, asked) for subject in plan.subjects},
        "gates": [asdict(outcome) for outcome in outcomes],
    }
    write_whole(folder / SUMMARY, json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    write_report(summary, folder / REPORT, show_harmful=plan.show_harmful)
    return Evaluation(summary, folder / REPORT, tuple(outcomes))


def _outputs(subject: Subject, cases: Sequence[Case], rulebook: Rulebook, folder: Path) -> dict[str, Output]:
    folder.mkdir(exist_ok=True)
    if isinstance(subject, Local):
        found = local.ask(subject, cases, rulebook, folder)
    else:
        distinct = {case.key for case in endpoint.asked_of_endpoints(cases)}
        with progress(f"{subject.label}: answers", len(distinct)) as advance:
            found = endpoint.ask(subject, cases, folder, advance)
    _write_lines(folder / "outputs.jsonl", (asdict(output) for output in found.values()))
    return found


def _with_llm(
    judging: llm.Endpoint,
    cases: Sequence[Case],
    outputs: Mapping[str, Mapping[str, Output]],
    judgements: Mapping[str, Mapping[str, Judgement]],
    rulebook: Rulebook,
    folder: Path,
) -> dict[str, dict[str, Judgement]]:
    """The same judgements with the scores of the language model that judges."""
    pairs = {
        (subject, case.id): llm.Pair(case.prompt, those[case.id].answer, harmful=case.label is Label.HARMFUL)
        for subject, those in outputs.items()
        for case in cases
        if case.id in judgements[subject]
    }
    with progress(f"judging by {judging.model}", len(pairs)) as advance:
        found = llm.judge_all(pairs.values(), judging, rulebook, folder / "llm-judgements.jsonl", lambda done, total: advance())
    scored: dict[str, dict[str, Judgement]] = {subject: {} for subject in judgements}
    for (subject, case_id), pair in pairs.items():
        one = found[llm.key_of(pair, judging, rulebook)]
        given = {"strongreject": one.strongreject, "behaviour": one.behaviour, "unsafe": one.unsafe, "helpfulness": one.helpfulness}
        scores = {name: float(score) for name, score in given.items() if score is not None}
        scored[subject][case_id] = replace(judgements[subject][case_id], llm=scores)
    return scored


def _timings(plan: Plan, suites: Sequence[Drawn], folder: Path) -> tuple[list[Timing], tuple[str, ...]]:
    """Interleaved timings, and why there are none where there are none. They are taken once in a run folder."""
    cases = [case for one in suites for case in one.cases]
    subjects = [subject for subject in plan.subjects if isinstance(subject, Local)]
    if not cases:
        return [], ()
    if len(subjects) < 2 or not isinstance(plan.subjects[0], Local):
        return [], ("added latency: only models in process are timed against each other here, two at least; 'erpo bench' times servers",)
    who = [[subject.label, subject.identity, subject.aligned, subject.policy, subject.strictness] for subject in subjects]
    kept, what = folder / "timings.json", [who, plan.rulebook.sha256, [case.key for case in cases]]
    if kept.exists() and (found := json.loads(kept.read_text(encoding="utf-8")))["what"] == what:
        return [Timing(**one) for one in found["timings"]], ()
    with progress("latency, in turn", len(cases)) as advance:
        timings = interleaved(subjects, cases, plan.rulebook, folder / "latency", advance)
    write_whole(kept, json.dumps({"what": what, "timings": [asdict(timing) for timing in timings]}) + "\n")
    return timings, ()


def _asked(drawn: Drawn, outputs: Mapping[str, Mapping[str, Output]], judgements: Mapping[str, Mapping[str, Judgement]]) -> Asked:
    ids = [case.id for case in drawn.cases]
    return Asked(
        drawn.suite,
        drawn.cases,
        {subject: {i: those[i] for i in ids if i in those and not those[i].error} for subject, those in outputs.items()},
        {subject: {i: those[i] for i in ids if i in those} for subject, those in judgements.items()},
    )


def _confusion(asked: Sequence[Asked], rulebook: Rulebook) -> dict[str, Any]:
    """Expected rule against the first one cited, where the rulebook is as it is."""
    from sklearn.metrics import confusion_matrix

    found: dict[str, Any] = {}
    for one in asked:
        plain = [case for case in one.cases if not case.disabled and case.added is None and case.rule]
        if one.suite.measure is not Measure.RULES or not plain:
            continue
        labels = [*(rule.id for rule in rulebook.rules), "none"]
        for subject, those in one.outputs.items():
            traced = [case for case in plain if case.id in those and those[case.id].trace is not None]
            if traced:
                cited = [(those[case.id].cited or ("none",))[0] for case in traced]
                matrix = confusion_matrix([case.rule for case in traced], cited, labels=labels)
                found[subject] = {"labels": labels, "matrix": matrix.tolist()}
    return found


def _judges(asked: Sequence[Asked], judgements: Mapping[str, Mapping[str, Judgement]], judging: llm.Endpoint | None) -> dict[str, Any]:
    """What each judge is, how it does on human labels, and how the two agree on this run's harmful cases."""
    from importlib.resources import files

    validation = json.loads((files("erpo_training") / "evaluation" / "judges" / "validation.json").read_text(encoding="utf-8"))
    agreement = []
    for subject in judgements:
        pairs = [
            (not one.refused, one.helped >= HELPED_THRESHOLD)
            for those in asked
            if those.suite.measure is Measure.COMPLIANCE
            for one in those.judgements[subject].values()
        ]
        if pairs:
            agreement.append({"subject": subject, **_agreement(pairs)})
    return {
        "refusal": validation["refusal"],
        "helped": validation["helped"],
        "llm": None if judging is None else {"what": f"{judging.model}, four rubrics", "validation": []},
        "agreement": agreement,
    }


def _agreement(pairs: Sequence[tuple[bool, bool]]) -> dict[str, Any]:
    """How often two judges agree that harm was done. `kappa` is `None` where one of them always says the same."""
    from sklearn.metrics import cohen_kappa_score

    counts = Counter(pairs)
    first, second = zip(*pairs, strict=True)
    varied = len(set(first)) > 1 and len(set(second)) > 1
    return {
        "n": len(pairs),
        "agreement": (counts[True, True] + counts[False, False]) / len(pairs),
        "kappa": float(cohen_kappa_score(first, second)) if varied else None,
        "both": counts[True, True],
        "only_first": counts[True, False],
        "only_second": counts[False, True],
        "neither": counts[False, False],
    }


def _contamination(drawn: Sequence[Drawn], trained: Path | None) -> Iterable[Any]:
    texts = _training_prompts(trained)
    for one in drawn:
        yield overlap(one.suite.name, {case.id: (case.prompt, case.messages[-1]["content"]) for case in one.cases}, texts)


def _training_prompts(folder: Path | None) -> list[str]:
    """Every prompt that the shipped recipes may train on: the corpus, its wrappers, and the third-party training sets that are there."""
    texts = [message.content for item in load_corpus() for message in item.messages if message.role == "user"]
    texts += [wrapper.template for wrapper in load_wrappers()]
    for source in SOURCES.values():
        path = folder / source.file if folder else None
        if path and path.is_file():
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
            texts += [str(row.get("prompt", "")) for row in rows]
    return texts


def _subject(subject: Subject) -> dict[str, Any]:
    if isinstance(subject, Endpoint):
        return {"label": subject.label, "what": subject.what, "identity": None, "aligned": None}
    return {"label": subject.label, "what": subject.what, "identity": subject.identity, "aligned": subject.aligned}


def _suite(drawn: Drawn, untimed: tuple[str, ...]) -> dict[str, Any]:
    suite = drawn.suite
    names = list(dict.fromkeys(part.set for part in suite.parts))
    rows = Counter(Path(case.id).parent.name for case in drawn.cases)
    rows["jailbreak_templates"] = sum("/wild-" in case.id for case in drawn.cases)
    known = prompt_sets()
    return {
        "name": suite.name,
        "title": suite.title,
        "question": suite.question,
        "cases": len(drawn.cases),
        "data": [
            {"name": name, "rows": rows[name], "hub": known[name].published, "licence": known[name].licence}
            for name in [*names, "jailbreak_templates"]
            if name in known and rows[name]
        ],
        "missing": [*drawn.missing, *(untimed if suite.measure is Measure.COST else ())],
    }


def _write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    write_whole(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
