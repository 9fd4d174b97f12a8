"""A suite: a question about a model, the prompts that put it, and what is measured. One small YAML each.

Owns the YAML's form and its errors. Does not know how cases are built or answered.
"""

from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from erpo_training.evaluation.case import Label
from erpo_training.evaluation.sets import prompt_sets

Count = Annotated[int, Field(ge=1)]


class SuiteError(ValueError):
    """A suite that cannot be run. One line a fault: file, key, what is wrong."""


class Measure(StrEnum):
    """What a suite's outputs are measured for."""

    COMPLIANCE = "compliance"
    """Share of harmful requests that were complied with (attack success rate)."""
    OVER_REFUSAL = "over_refusal"
    """Share of harmless requests that were refused."""
    USEFULNESS = "usefulness"
    """Over-refusal, length and quality of answers to ordinary requests."""
    IFEVAL = "ifeval"
    """Verifiable instructions followed, by the official checker."""
    GSM8K = "gsm8k"
    """Problems solved: the last number of the answer is the solution."""
    RULES = "rules"
    """Whether the right rule is cited, and whether a rulebook's edit is obeyed."""
    CARE = "care"
    """Whether a delicate request is met with care, and a harmless one in the same words is not."""
    COST = "cost"
    """Latency that the trace adds, pair by pair."""


class Part(BaseModel):
    """Some prompts of a suite, all made in one way."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    set: str = Field(description="A set of `datasets.yaml`, or a path of JSON lines with 'prompt' or 'messages'.")
    label: Label | None = Field(default=None, description="What these requests are; each row's own 'label' when omitted.")
    only: dict[str, str] = Field(default={}, description="Only rows with these values.")
    group: str | None = Field(default=None, description="Name of the group, for all of them.")
    group_by: str | None = Field(default=None, description="Column that names each row's group; behind `group` and a colon, where given.")
    sample: Count | None = Field(
        default=None, description="At most this many (with `attack`: of each family), drawn with the seed; all when omitted."
    )
    sample_each: Count | None = Field(default=None, description="At most this many of each group.")
    attack: Literal["wild", "families"] | None = Field(
        default=None,
        description="Put inside in-the-wild templates, or inside every family of `attacks.yaml`; the group is then the family.",
    )
    change: Literal["disable", "add"] | None = Field(
        default=None, description="Edit the rulebook for each case: switch its rule off, or add the rules of `added_rules.yaml`."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.set.endswith(".jsonl") and self.set not in prompt_sets() and self.set != "added_rules":
            raise ValueError(f"no set {self.set!r}; known: {', '.join(prompt_sets())}, or a path that ends in .jsonl")
        if (self.set == "added_rules") != (self.change == "add"):
            raise ValueError("'change: add' and 'set: added_rules' go together")
        if self.attack and (self.group or self.group_by or self.sample_each):
            raise ValueError("an attack's group is its family: leave out 'group', 'group_by' and 'sample_each'")
        return self


class Suite(BaseModel):
    """A suite's file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    title: str
    question: str = Field(description="What the suite finds out, in one sentence.")
    measure: Measure
    answer_tokens: Annotated[int, Field(ge=0, le=2048)] = Field(default=128, description="Longest answer in tokens; 0: the trace alone.")
    # `min_length` would also count faulty parts as absent and report a second fault; the validator below counts.
    parts: tuple[Part, ...]

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if not self.parts:
            raise ValueError("no parts: a suite needs at least one")
        if not self.answer_tokens and self.measure not in (Measure.RULES, Measure.CARE):
            raise ValueError("'answer_tokens' is 0, and only 'measure: rules' and 'measure: care' need no answer")
        return self


def shipped_suites() -> tuple[str, ...]:
    """Names of the suites in the package, in the order in which they are reported."""
    order = ("harmful", "attacked", "lookalike", "ordinary", "ifeval", "gsm8k", "rules", "care", "cost")
    folder = files("erpo_training") / "evaluation" / "suites"
    found = {f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")}
    return tuple(sorted(found, key=lambda name: (order.index(name) if name in order else len(order), name)))


def load_suite(name_or_path: str) -> Suite:
    """A shipped suite by name, or any YAML file by path. Raises `SuiteError`."""
    if name_or_path in shipped_suites():
        text = (files("erpo_training") / "evaluation" / "suites" / f"{name_or_path}.yaml").read_text(encoding="utf-8")
    else:
        try:
            text = Path(name_or_path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise SuiteError(f"suite {name_or_path!r}: {reason}; give a YAML file or one of {', '.join(shipped_suites())}") from error
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2025-13-40
        raise SuiteError(f"suite {name_or_path!r}: not YAML: {' '.join(str(error).split())}") from error
    try:
        return Suite.model_validate(data)
    except ValidationError as error:
        raise SuiteError("\n".join(f"suite {name_or_path!r}: {_fault(fault)}" for fault in error.errors())) from error


def _fault(fault: Any) -> str:
    key = ".".join(map(str, fault["loc"])) or "suite"
    given = "" if isinstance(fault["input"], dict) else f" (got {fault['input']!r})"
    return f"key {key!r}: {fault['msg'].removeprefix('Value error, ')}{given}"
