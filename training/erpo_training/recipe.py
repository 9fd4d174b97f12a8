"""A training run as data: the YAML recipe, its defaults and its errors.

Owns every number that a run depends on. Knows nothing of how the stages work. An unknown key is an error, never ignored.
"""

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from erpo_rules import DEFAULT_RULEBOOK
from erpo_training.data.items import Kind
from erpo_training.data.sources import SOURCES

EMBEDDED = "embedded"
"""`base` that stands for the model shipped with the product."""

EMBEDDED_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""Public name of the embedded model."""

Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class RecipeError(ValueError):
    """A recipe that cannot be run. One line a fault: file, key, what is wrong."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SetChoice(_Part):
    """How much of a third-party set is used."""

    name: str = Field(description="A set that `erpo_training.data.sources` knows.")
    kinds: tuple[Kind, ...] | None = Field(default=None, description="Only items of these kinds; all when omitted.")
    limit: Count | None = Field(default=None, description="At most this many items, drawn with the recipe's seed; all when omitted.")

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        if self.name not in SOURCES:
            raise ValueError(f"no set {self.name!r}; known: {', '.join(SOURCES)}")
        return self


class Data(_Part):
    """Which items are trained on."""

    folder: str = Field(
        default="../shared/data/train",
        description="Where the third-party sets may lie; --data overrides it. What it lacks is loaded from its publisher.",
    )
    corpus: bool = Field(default=True, description="Use the corpus shipped with this package.")
    repeat_corpus: Count = Field(default=1, description="How many times each corpus item is seen in one epoch.")
    repeat_cautious: Count = Field(
        default=1, description="How many times each item that asks for caution is seen in one epoch: there are few of them."
    )
    wrapped: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Jailbreak wrappers: this many around harmful items and as many around harmless ones."
    )
    wild: Annotated[int, Field(ge=0)] = Field(
        default=0, description="The same with jailbreak templates found in the wild ('jailbreak_templates.jsonl')."
    )
    sets: tuple[SetChoice, ...] = Field(
        default=(), description="Third-party sets. Rows of which neither this package nor a teacher has an assessment are left out."
    )
    answered: Annotated[float, Field(ge=0, le=1)] = Field(
        default=1.0, description="Share of the refused and the harmless items in question that teach an answer as well as a trace."
    )
    answered_cautious: Annotated[float, Field(ge=0, le=1)] = Field(default=1.0, description="The same share of cautious items.")
    answered_ordinary: Annotated[float, Field(ge=0, le=1)] = Field(default=1.0, description="The same share of ordinary items.")
    weighed: Annotated[float, Field(ge=0, le=1)] = Field(
        default=1.0,
        description="Share of the harmless items in question whose assessment is taught; the others get the short trace, so that its first "
        "word is a verdict. A small model may decide better at one word than at the end of its own reasoning.",
    )
    explained: Annotated[float, Field(ge=0, le=1)] = Field(
        default=1.0, description="Share of the refused items whose assessment is taught in words; of the others only its first word."
    )
    limit: Count | None = Field(default=None, description="Cap on the items in all, drawn evenly over verdicts; for trials.")
    validation: Share = Field(default=0.05, description="Share of items held out, the same share of every verdict.")


class Answers(_Part):
    """How the base model's own answers are sampled."""

    max_tokens: Count = Field(default=128, description="Longest answer in tokens; a longer one is cut and taught without an end.")
    temperature: Annotated[float, Field(ge=0)] = 0.0


class Lora(_Part):
    """The adapter's shape."""

    r: Count = 16
    alpha: Count = 32
    dropout: Share = 0.0
    target: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    first_layer: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="The lowest layer that is adapted. Those below need no backward pass: a third of them is a sixth of the work.",
    )


class Sft(_Part):
    """Stage 1: supervised training on traces and answers."""

    epochs: Annotated[float, Field(gt=0)] = 2.0
    max_steps: Count | None = Field(default=None, description="Stop after this many steps instead of after the epochs; for trials.")
    learning_rate: Annotated[float, Field(gt=0)] = 4e-4
    batch_size: Count = Field(default=8, description="Rows at once, on each GPU; memory grows with it.")
    gradient_accumulation: Count = Field(default=1, description="Batches to one step.")
    max_length: Annotated[int, Field(ge=256)] = Field(default=1024, description="Longest prompt, trace and answer together, in tokens.")
    warmup_ratio: Share = 0.05
    scheduler: Literal["cosine", "linear", "constant_with_warmup"] = "cosine"
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    deciding_weight: Annotated[float, Field(gt=0)] = Field(
        default=1.0,
        description="How much a token that decides (how the trace begins, the rules that it cites, its verdict) weighs in the loss beside "
        "one of wording or of the answer. A trace has a few of the first and twenty of the others.",
    )
    save_steps: Count = 100
    threads: Count | None = Field(default=None, description="CPU threads; all cores when omitted.")
    gradient_checkpointing: bool = False
    dtype: Literal["auto", "bfloat16", "float32"] = Field(
        default="auto",
        description="Precision of matrix products; adapter weights are float32. 'auto': bfloat16, unless the processor would emulate it.",
    )
    lora: Lora = Lora()


class Preference(_Part):
    """How one stage of preference optimization samples and trains."""

    prompts: Count | None = Field(default=None, description="Requests sampled, drawn with the seed; all that are trained on when omitted.")
    wrapped: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.25,
        description="Share of the requests that are put into a jailbreak wrapper first. Most of these pairs of request and wrapper are new "
        "to the model, so that it errs as it would in use.",
    )
    samples: Count = Field(default=4, description="Traces sampled of each request.")
    temperature: Annotated[float, Field(gt=0)] = 1.0
    pairs_each: Count = Field(default=2, description="Wrong traces of one request that become pairs.")
    epochs: Annotated[float, Field(gt=0)] = 1.0
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    beta: Annotated[float, Field(gt=0)] = Field(
        default=0.1, description="How far the adapter may move from the one before; lower is farther."
    )
    sft_weight: Annotated[float, Field(ge=0)] = Field(default=0.2, description="Weight of the supervised term on the preferred trace.")
    batch_size: Count = Field(default=8, description="Pairs at once, on each GPU: twice as many traces.")
    gradient_accumulation: Count = Field(default=1, description="Batches to one step.")
    save_steps: Count = 50


class Shorten(Preference):
    """Stage 3: rounds that keep traces right and make them short."""

    rounds: Count = 2
    budget: tuple[Share, ...] = Field(
        default=(0.7, 0.5),
        min_length=1,
        description="For each round, the share of right traces that are short enough; longer ones are not preferred. The last holds for "
        "later rounds.",
    )
    ld_alpha: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None, description="Weight of the part of a trace that is longer than its rival (LD-DPO); plain DPO when omitted."
    )
    tolerance: Share = Field(
        default=0.02,
        description="How much harm missed, or harmless requests refused, may rise over the best so far before a round is dropped.",
    )


class Recipe(_Part):
    """A whole run."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$")] = Field(description="Name of the run folder.")
    base: str = Field(default=EMBEDDED, description="'embedded', a hub id, or a folder.")
    base_name: str | None = Field(
        default=None, description="Public name of the base, written into the adapter; needed when `base` is a folder."
    )
    seed: int = 0
    rulebook: str = Field(default=DEFAULT_RULEBOOK, description="A shipped rulebook's name or a YAML file.")
    template_without: str | None = Field(
        default=None,
        description="Text to cut out of the base's chat template, such as a default system prompt that every request would pay for.",
    )
    data: Data = Data()
    answers: Answers = Answers()
    sft: Sft = Sft()
    dpo: Preference | None = Field(default=None, description="Stage 2; left out when omitted.")
    shorten: Shorten | None = Field(default=None, description="Stage 3; left out when omitted.")
    report_to: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = Field(
        default=(), description="Trackers that every stage reports to, each as a run of its own."
    )

    @property
    def public_base(self) -> str:
        """The name of the base that others can find it by. Raises `RecipeError` when only a folder is given."""
        if self.base_name is None and Path(self.base).is_dir():
            raise RecipeError(f"recipe {self.name!r}: base {self.base!r} is a folder; give the model's public name as 'base_name'")
        return self.base_name or (EMBEDDED_NAME if self.base == EMBEDDED else self.base)


def shipped_recipes() -> tuple[str, ...]:
    """Names of the recipes in the package."""
    folder = files("erpo_training") / "recipes"
    return tuple(sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")))


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Load a shipped recipe by name, or any YAML file by path. Raises `RecipeError`."""
    name = str(name_or_path)
    if name in shipped_recipes():
        text = (files("erpo_training") / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
    else:
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise RecipeError(f"recipe {name!r}: {reason}; give a YAML file or one of {', '.join(shipped_recipes())}") from error
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"recipe {name!r}: not YAML: {' '.join(str(error).split())}") from error
    return parse_recipe(data, origin=name)


def parse_recipe(data: Any, *, origin: str) -> Recipe:
    """Validate a recipe's data; `origin` names it in errors. Raises `RecipeError`."""
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise RecipeError("\n".join(f"recipe {origin!r}: {_fault(fault)}" for fault in error.errors())) from error


def _fault(fault: Any) -> str:
    key = ".".join(map(str, fault["loc"])) or "recipe"
    if fault["type"] == "extra_forbidden":
        return f"unknown key {key!r} (got {fault['input']!r}); remove it or correct its spelling"
    if fault["type"] == "missing":
        return f"key {key!r} is missing"
    given = "" if isinstance(fault["input"], dict) else f" (got {fault['input']!r})"
    return f"key {key!r}: {fault['msg'].removeprefix('Value error, ')}{given}"
