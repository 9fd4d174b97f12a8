"""What Prometheus scrapes beside `vllm:*`: verdicts, citations, and what reasoning costs.

Every label has a closed set of values: verdicts, trace states, and the ids of the rulebook that is served.
Note that vLLM counts two engine requests for one chat request (the trace and the answer).
"""

from collections.abc import Iterable

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from erpo_rules import Verdict

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0)
_TOKENS = (3, 4, 6, 8, 12, 16, 20, 24, 30, 40, 60, 80, 120, 200)

NO_VERDICT = "none"
"""Label of a request that ended in an error before there was a verdict."""

COMPLETE, INCOMPLETE = "complete", "incomplete"


class Metrics:
    """The server's own metrics. One instance a process; tests pass a registry of their own."""

    def __init__(self, rule_ids: Iterable[str], registry: CollectorRegistry = REGISTRY) -> None:
        self.requests = Counter(
            "erpo_requests_total",
            "Chat requests by verdict and by whether the trace was complete.",
            ["verdict", "trace"],
            registry=registry,
        )
        self.citations = Counter("erpo_rule_citations_total", "Citations of a rule in traces.", ["rule_id"], registry=registry)
        self.time_to_verdict = Histogram(
            "erpo_time_to_verdict_seconds", "From the request's arrival to its verdict.", buckets=_SECONDS, registry=registry
        )
        self.time_to_first_answer_token = Histogram(
            "erpo_time_to_first_answer_token_seconds",
            "From the request's arrival to the first token of its answer (or to its refusal).",
            buckets=_SECONDS,
            registry=registry,
        )
        self.reasoning = Histogram(
            "erpo_reasoning_seconds", "Decoding of the trace, queueing excluded.", buckets=_SECONDS, registry=registry
        )
        self.duration = Histogram(
            "erpo_request_duration_seconds",
            "From the request's arrival to the last byte of its answer.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.reasoning_tokens = Histogram("erpo_reasoning_tokens", "Tokens decoded for a trace.", buckets=_TOKENS, registry=registry)
        self.in_flight = Gauge("erpo_requests_in_flight", "Chat requests being served now.", registry=registry, multiprocess_mode="livesum")
        for verdict in Verdict:
            self.requests.labels(verdict.value, COMPLETE)
        self.requests.labels(NO_VERDICT, INCOMPLETE)
        for rule_id in rule_ids:
            self.citations.labels(rule_id)
