"""vLLM, for the tests that need its classes: imported once (about ten seconds), and only when one of them runs."""

import importlib
import warnings
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def vllm_seam() -> ModuleType:
    with warnings.catch_warnings():  # what vLLM and torch warn of while they are imported is not ours
        warnings.simplefilter("ignore")
        return importlib.import_module("erpo_server.vllm_seam")
