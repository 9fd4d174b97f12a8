"""A rulebook, a real but tiny tokenizer and a model of a few thousand weights, made here: nothing is downloaded."""

from pathlib import Path
from typing import Any

import pytest

from erpo_rules import Rulebook, load_rulebook
from erpo_training.template import aligned_tokenizer
from tests.training.tiny import tiny_base


@pytest.fixture(scope="session")
def rulebook() -> Rulebook:
    return load_rulebook()


@pytest.fixture(scope="session")
def tokenizer(base: Path) -> Any:
    """The tiny base's, with the aligned chat template."""
    return aligned_tokenizer(base)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a base model: a few thousand random weights and the tokenizer."""
    return tiny_base(tmp_path_factory.mktemp("base"))
