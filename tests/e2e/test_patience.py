"""CAs that take for ever. The program's patience is minutes, so these runs begin with the session (fixture `long_runs` in conftest.py), beside all other
tests, and are looked at here, at its end."""

import os
import re

import pytest

from harness import snapshot


def finish(run):
    result = run.client.finish(run.process, timeout=600)
    assert result.status in (1, 4), result
    assert not os.path.lexists(run.client.live(run.name))
    assert "localhost" in result.err or run.name in result.err, result
    return result


@pytest.mark.parametrize("step", ["directory", "nonce", "order"])
def test_silence(long_runs, step):
    result = finish(long_runs[step])
    assert re.search(r"time|answer|slow|respon", result.err, re.I), result


def test_drops_of_a_body(long_runs):
    """One byte now and then is no answer either."""
    finish(long_runs["trickle"])


def test_authorization_pending_for_ever(long_runs):
    run = long_runs["authorization"]
    result = finish(run)
    assert run.name in result.err and re.search(r"time|pending|check|valid", result.err, re.I), result


def test_processing_for_ever_is_taken_up_by_the_next_run(long_runs):
    run = long_runs["order-poll"]
    result = finish(run)
    assert result.status == 4 and re.search(r"processing|still", result.err, re.I) and "same order" in result.err, result
    run.ca.behave()
    run.ca.polls_until_valid = 0
    orders = len(run.ca.requests("order"))
    assert orders == 1
    run.client.ok("issue", run.name, *run.words)
    assert len(run.ca.requests("order")) == orders, "resumed, without a second order"
    held = run.client.held()
    run.client.ok("issue", run.name, *run.words)
    assert not snapshot.difference(held, run.client.held())
