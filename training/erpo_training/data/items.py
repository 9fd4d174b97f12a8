"""One training item: a request, what a careful reviewer says about it, and where it comes from.

Owns the form of the corpus's JSON lines and of `wrappers.jsonl`, and what may stand in them. Knows neither models nor recipes:
an item is a value, and its trace is derived from it.
"""

import json
from collections.abc import Iterator
from enum import StrEnum
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from erpo_rules import Citation, Trace, TraceError, Verdict
from erpo_training.data.encodings import Encoding, encode

CORPUS_SOURCE = "erpo-corpus"
"""`source` of an item written for this project."""

WRAPPERS = "wrappers.jsonl"
"""The one corpus file that holds templates instead of items."""

PLACEHOLDER = "{prompt}"

LONGEST_ENCODED = 200
"""Longest request in characters that is encoded: some encodings take several tokens for one character."""

WRAPPED_BY = "+"
"""Stands in a wrapped item's id between the item's and the wrapper's."""


class ItemError(ValueError):
    """Items that cannot be used. One line a fault: file, line, field, what is wrong."""


class Kind(StrEnum):
    """What an item is there to teach."""

    HARMFUL = "harmful"
    """A request whose purpose is harm."""
    LOOKALIKE = "lookalike"
    """A harmless request in the words of a harmful one."""
    CAUTION = "caution"
    """A request that is answered, but safely: distress, specialised advice."""
    ORDINARY = "ordinary"
    """A request in which nothing is in question."""
    OVERRIDE = "override"
    """A system or user message tells the model to drop its rules."""
    MULTITURN = "multiturn"
    """The last turn is only clear in the light of the earlier ones."""
    WRAPPED = "wrapped"
    """Another item inside a jailbreak wrapper; its verdict is unchanged."""


_VERDICTS = {
    Kind.HARMFUL: (Verdict.REFUSE, Verdict.CAUTION),
    Kind.CAUTION: (Verdict.REFUSE, Verdict.CAUTION),
    Kind.LOOKALIKE: (Verdict.COMPLY,),
    Kind.ORDINARY: (Verdict.COMPLY,),
}
"""Verdicts that a kind allows; the kinds that are not here allow all."""

Text = Annotated[str, StringConstraints(min_length=1)]


class Message(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Literal["system", "user", "assistant"]
    content: Text


class Item(BaseModel):
    """A labelled conversation. In a file, `prompt` stands for a single user message."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Text
    kind: Kind
    rule: str | None = Field(default=None, description="Rule cited; for a harmless item, the rule whose words it resembles.")
    topic: str | None = Field(default=None, description="Subject of an ordinary item, for statistics only.")
    verdict: Verdict
    messages: tuple[Message, ...] = Field(min_length=1)
    assessment: str | None = Field(
        default=None, description="What is asked; what follows from it. A harmless item without one is taught the short form."
    )
    answer: Text | None = Field(default=None, description="Written answer of a cautious item; no other item has one.")
    source: str = CORPUS_SOURCE

    @model_validator(mode="before")
    @classmethod
    def _prompt_is_one_user_message(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "prompt" not in data:
            return data
        if "messages" in data:
            raise ValueError("both 'prompt' and 'messages' are given: keep one")
        rest = {name: value for name, value in data.items() if name != "prompt"}
        return {**rest, "messages": [{"role": "user", "content": data["prompt"]}]}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.messages[-1].role != "user":
            raise ValueError(f"the last message is the {self.messages[-1].role}'s; it must be the user's")
        if self.verdict not in _VERDICTS.get(self.kind, tuple(Verdict)):
            raise ValueError(f"verdict {self.verdict.value!r} does not fit kind {self.kind.value!r}")
        if self.verdict is not Verdict.COMPLY and not self.rule:
            raise ValueError(f"verdict {self.verdict.value!r} needs the 'rule' that it cites")
        if self.answer is not None and self.verdict is not Verdict.CAUTION:
            raise ValueError(f"verdict {self.verdict.value!r} takes no 'answer'")
        if self.answer is None and self.verdict is Verdict.CAUTION and self.source == CORPUS_SOURCE:
            raise ValueError("verdict 'caution' needs an 'answer'")
        if self.verdict is not Verdict.COMPLY and self.assessment is None:
            raise ValueError(f"verdict {self.verdict.value!r} needs an 'assessment'")
        try:
            self.trace()
        except TraceError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def prompt(self) -> str:
        """What the user asked last."""
        return self.messages[-1].content

    @property
    def origin(self) -> str:
        """Id of the item inside the wrapper, or this item's own."""
        return self.id.split(WRAPPED_BY)[0]

    def trace(self) -> Trace:
        """The trace to teach: the short form for a request that is ordinary, or harmless and not assessed; else the full one."""
        if self.verdict is Verdict.COMPLY and (self.kind is Kind.ORDINARY or self.assessment is None):
            return Trace(Verdict.COMPLY)
        cited = () if self.verdict is Verdict.COMPLY else (Citation(self.rule or ""),)
        return Trace(self.verdict, cited, self.assessment)


class Wrapper(BaseModel):
    """A jailbreak wrapper: a template around any request, and the few words that say what it does."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Text
    kind: Literal["wrapper"]
    family: Text
    template: Text
    encoding: Encoding | None = Field(
        default=None, description=f"How the request is written where {PLACEHOLDER} stands; as it is when omitted."
    )
    note: Text = Field(max_length=70, description="Goes before the assessment of what is inside, e.g. 'inside a role-play without limits'.")

    @model_validator(mode="after")
    def _has_one_place(self) -> Self:
        if self.template.count(PLACEHOLDER) != 1:
            raise ValueError(f"the template holds {PLACEHOLDER} {self.template.count(PLACEHOLDER)} times; it must hold it once")
        return self

    def takes(self, prompt: str) -> bool:
        """Whether the request is short enough to be encoded."""
        return self.encoding is None or len(prompt) <= LONGEST_ENCODED

    def around(self, prompt: str) -> str:
        """The template with the request in its place."""
        # Not str.format: templates and prompts hold braces of their own.
        return self.template.replace(PLACEHOLDER, encode(prompt, self.encoding) if self.encoding else prompt)


Line = TypeVar("Line", Item, Wrapper)


def corpus_files() -> tuple[Traversable, ...]:
    """The corpus's files of items, in order of name."""
    folder = files("erpo_training") / "corpus"
    return tuple(sorted((f for f in folder.iterdir() if f.name.endswith(".jsonl") and f.name != WRAPPERS), key=lambda f: f.name))


def wrappers_file() -> Traversable:
    """The corpus's file of wrappers."""
    return files("erpo_training") / "corpus" / WRAPPERS


def scan(file: Traversable | Path, model: type[Line]) -> Iterator[tuple[str, Line | ItemError]]:
    """Every non-empty line of a JSON-lines file: its place (`file:line`) and the value, or the error that names what is wrong."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ItemError(f"{file}: {error}; expected UTF-8 JSON lines") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{file.name}:{number}"
        try:
            yield place, model.model_validate(json.loads(line))
        except json.JSONDecodeError as error:
            yield place, ItemError(f"{place}: not JSON: {error}")
        except ValidationError as error:
            yield place, ItemError(f"{place}: {_fault(error)}")


def load(file: Traversable | Path, model: type[Line]) -> tuple[Line, ...]:
    """Read a whole file. Raises `ItemError` with one line a fault."""
    values: list[Line] = []
    faults: list[str] = []
    for _, value in scan(file, model):
        if isinstance(value, ItemError):
            faults.append(str(value))
        else:
            values.append(value)
    if faults:
        raise ItemError("\n".join(faults))
    return tuple(values)


def load_corpus() -> tuple[Item, ...]:
    """Every item of the shipped corpus. Raises `ItemError`."""
    return tuple(item for file in corpus_files() for item in load(file, Item))


def load_wrappers() -> tuple[Wrapper, ...]:
    """Every wrapper of the shipped corpus. Raises `ItemError`."""
    return load(wrappers_file(), Wrapper)


def _fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    field = f"field {'.'.join(map(str, fault['loc']))!r}: " if fault["loc"] else ""
    given = "" if fault["type"] == "missing" or isinstance(fault["input"], dict | Item) else f" (got {fault['input']!r})"
    return f"{field}{fault['msg'].removeprefix('Value error, ')}{given}"
