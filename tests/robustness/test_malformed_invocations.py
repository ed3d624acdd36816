"""Malformed values and commands: some here, thousands and all commands in the script."""

import malformed_invocations


def test_no_malformed_value_is_accepted_or_ends_in_a_traceback():
    tally = malformed_invocations.main(most_values=400, most_commands=0)
    assert tally.failures == []
    assert tally.num_tried == 400 and tally.num_refused > 200


def test_a_value_that_is_accepted_in_silence_would_be_noticed(monkeypatch):
    monkeypatch.setattr(malformed_invocations, "validate", lambda config: None)
    assert malformed_invocations.override("optimizer.g_learning_rate", "1e30").startswith("accepted as 1e+30")
