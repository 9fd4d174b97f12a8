"""The names that dashboards and alerts are written against."""

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from erpo_server.metrics import Metrics

# family: kind, labels beside a histogram's `le`
FAMILIES = {
    "erpo_requests": ("counter", {"verdict", "trace"}),
    "erpo_rule_citations": ("counter", {"rule_id"}),
    "erpo_time_to_verdict_seconds": ("histogram", set()),
    "erpo_time_to_first_answer_token_seconds": ("histogram", set()),
    "erpo_reasoning_seconds": ("histogram", set()),
    "erpo_request_duration_seconds": ("histogram", set()),
    "erpo_reasoning_tokens": ("histogram", set()),
    "erpo_requests_in_flight": ("gauge", set()),
}


@pytest.fixture
def families() -> dict[str, Metric]:
    registry = CollectorRegistry()
    Metrics(["S1", "S2"], registry)
    return {f.name: f for f in text_string_to_metric_families(generate_latest(registry).decode()) if not f.name.endswith("_created")}


def test_the_families_are_the_documented_ones(families: dict[str, Metric]) -> None:
    assert {name: family.type for name, family in families.items()} == {name: kind for name, (kind, _) in FAMILIES.items()}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_has_a_help_text_and_its_labels(families: dict[str, Metric], name: str) -> None:
    assert families[name].documentation.endswith(".")
    assert families[name].samples
    for sample in families[name].samples:
        assert set(sample.labels) - {"le"} == FAMILIES[name][1]


def test_every_label_is_there_from_the_start(families: dict[str, Metric]) -> None:
    requests = {(s.labels["verdict"], s.labels["trace"]): s.value for s in families["erpo_requests"].samples}
    assert requests == {(v, "complete"): 0.0 for v in ("comply", "caution", "refuse")} | {("none", "incomplete"): 0.0}
    assert {s.labels["rule_id"]: s.value for s in families["erpo_rule_citations"].samples} == {"S1": 0.0, "S2": 0.0}
