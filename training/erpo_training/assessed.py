"""Assessments that we wrote for third-party prompts, without the prompts: each is filed under a hash of the text it is about.

So none of a set's text is part of this project, and whoever has the set gets a reviewer's words for it. Knows no set.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from erpo_rules import Verdict


@dataclass(frozen=True, slots=True)
class Assessed:
    """A reviewer's judgement of one prompt.

    Attributes:
        rule: the rule cited, or the one whose words a harmless prompt resembles; `None` for an ordinary one.
    """

    verdict: Verdict
    rule: str | None
    assessment: str


def prompt_key(prompt: str) -> str:
    """What a prompt's assessment is filed under: the beginning of the sha256 of its stripped text."""
    return hashlib.sha256(prompt.strip().encode()).hexdigest()[:16]


@cache
def assessed_prompts() -> dict[str, Assessed]:
    """Every assessment, by `prompt_key`."""
    text = (files("erpo_training") / "corpus" / "third_party" / "assessments.jsonl").read_text(encoding="utf-8")
    found: dict[str, Assessed] = {}
    for line in text.splitlines():
        row = json.loads(line)
        found[row["prompt"]] = Assessed(Verdict(row["verdict"]), row["rule"], row["assessment"])
    return found
