"""Classifiers that learnt nothing, and copies of real images: a round here, 40 in the script."""

import misleading_scores


def test_no_score_of_a_round_misleads():
    tally = misleading_scores.main(rounds=1)
    assert tally.failures == []
    assert (tally.num_survived, tally.num_refused) == (3, 7)
