"""The rulebook: which rules exist, what each covers and does not, and what happens when one is cited.

Owns the YAML form, its validation and its identity (sha256). Knows nothing of models or HTTP.
"""

import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from erpo_rules.trace import Citation, Trace, Verdict

DEFAULT_RULEBOOK = "mlcommons"

RuleId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class RulebookError(ValueError):
    """A rulebook that cannot be used. One line a fault: file, rule, field, what is wrong."""


class Rule(BaseModel):
    """One rule: a kind of hazard, and what the server does when the model cites it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: RuleId = Field(description="Stable id; it is what a trace cites, e.g. 'S2'. Never reuse an id for another meaning.")
    title: Text = Field(description="Short human name of the hazard.", max_length=80)
    covers: Text = Field(description="What the rule covers, in plain words.")
    excludes: Text = Field(description="Look-alikes that the rule does not cover and that are answered.")
    action: Literal["refuse", "caution"] = Field(
        description="Strongest verdict the rule may lead to. 'refuse' also allows 'caution' (a person in need of help); "
        "'caution' never refuses."
    )
    refusal: Text = Field(description="What the user reads when the request is refused: kind, specific, with a safe alternative.")
    source: Text = Field(description="Where the rule comes from.")
    enabled: bool = Field(default=True, description="False: the rule is never cited, from the next request on.")


class Rulebook(BaseModel):
    """An ordered set of rules with an identity."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: RuleId = Field(description="Name of the rulebook.")
    version: Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+$")] = Field(description="Semantic version of the text.")
    title: Text = Field(description="One line that says what the rulebook is.")
    # `min_length` would also count faulty rules as absent and report a second fault; the validator below counts.
    rules: tuple[Rule, ...] = Field(description="The rules, in the order in which they are shown.", json_schema_extra={"minItems": 1})

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Self:
        ids = [rule.id for rule in self.rules]
        if twice := sorted({i for i in ids if ids.count(i) > 1}):
            raise ValueError(f"rule ids used twice: {', '.join(twice)}")
        if not self.enabled:
            raise ValueError("no rule is enabled: a rulebook needs at least one")
        return self

    @property
    def enabled(self) -> tuple[Rule, ...]:
        """The rules that a trace may cite."""
        return tuple(rule for rule in self.rules if rule.enabled)

    def rule(self, rule_id: str) -> Rule:
        """The rule with this id, enabled or not. Raises `KeyError` naming an unknown id."""
        for rule in self.rules:
            if rule.id == rule_id:
                return rule
        raise KeyError(f"no rule {rule_id!r} in rulebook {self.id!r}: it has {', '.join(r.id for r in self.rules)}")

    @property
    def sha256(self) -> str:
        """Hash of the meaning (not of the YAML's layout): equal exactly when every field of every rule is."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def without(self, *rule_ids: str) -> "Rulebook":
        """The same rulebook with these rules disabled. Raises `KeyError` on an unknown id, `RulebookError` if none is left."""
        for rule_id in rule_ids:
            self.rule(rule_id)
        rules = [rule.model_dump() | ({"enabled": False} if rule.id in rule_ids else {}) for rule in self.rules]
        return parse_rulebook({**self.model_dump(), "rules": rules}, origin=f"{self.id} without {', '.join(rule_ids)}")

    def admits(self, trace: Trace) -> bool:
        """Whether every cited rule is enabled and the verdict is one that the cited rules may lead to."""
        enabled = {rule.id: rule for rule in self.enabled}
        if any(citation.rule_id not in enabled for citation in trace.citations):
            return False
        strongest = {enabled[citation.rule_id].action for citation in trace.citations}
        return trace.verdict is not Verdict.REFUSE or "refuse" in strongest

    def refusal(self, citations: tuple[Citation, ...]) -> str:
        """The refusal text of the first cited rule that may refuse."""
        rules = [self.rule(citation.rule_id) for citation in citations]
        return next(rule for rule in rules if rule.action == "refuse").refusal


def builtin_rulebooks() -> tuple[str, ...]:
    """Names of the rulebooks shipped in the package."""
    folder = files("erpo_rules") / "rulebooks"
    return tuple(sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")))


def load_rulebook(name_or_path: str | Path = DEFAULT_RULEBOOK) -> Rulebook:
    """Load a shipped rulebook by name, or any YAML file by path.

    Raises:
        RulebookError: naming the file, and for each fault the rule, the field and the remedy.
    """
    name = str(name_or_path)
    if name in builtin_rulebooks():
        origin, text = f"{name}.yaml", (files("erpo_rules") / "rulebooks" / f"{name}.yaml").read_text(encoding="utf-8")
    else:
        origin = name
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise RulebookError(f"rulebook {name!r}: {reason}; give a YAML file or one of {', '.join(builtin_rulebooks())}") from error
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2025-13-40
        raise RulebookError(f"{origin}: not YAML: {' '.join(str(error).split())}") from error
    return parse_rulebook(data, origin=origin)


def parse_rulebook(data: Any, *, origin: str) -> Rulebook:
    """Validate a rulebook's data; `origin` names it in errors. Raises `RulebookError`."""
    try:
        return Rulebook.model_validate(data)
    except ValidationError as error:
        raise RulebookError("\n".join(f"{origin}: {_fault(data, fault)}" for fault in error.errors())) from error


def _fault(data: Any, fault: Any) -> str:
    where, place = list(fault["loc"]), []
    if where[:1] == ["rules"] and len(where) > 1:
        index = where[1]
        rule = list(data["rules"])[index]  # YAML's !!set has no index
        rule_id = rule.get("id") if isinstance(rule, dict) else None
        place.append(f"rule {rule_id!r}" if rule_id else f"rule number {index + 1}")
        where = where[2:]
    if where:
        place.append(f"field {'.'.join(map(str, where))!r}")
    given = "" if fault["type"] == "missing" or isinstance(fault["input"], dict | list) else f" (got {fault['input']!r})"
    return f"{', '.join(place) or 'rulebook'}: {fault['msg'].removeprefix('Value error, ')}{given}"
