"""A newer vLLM cannot add a request parameter that the policy does not know."""

from types import ModuleType

from erpo_server.policy import POLICY


def test_every_field_of_vllms_chat_request_is_in_the_policy(vllm_seam: ModuleType) -> None:
    assert vllm_seam.request_fields() - POLICY.keys() == set()
