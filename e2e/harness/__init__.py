"""Starts, drives and ends what an end-to-end test needs: the service, agents, printers' software, clients."""

import pytest

# Before it is imported, so that its assertions say what they compared.
pytest.register_assert_rewrite("harness.framing")
