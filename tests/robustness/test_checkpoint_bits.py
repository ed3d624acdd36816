"""A bit flipped in each file of a checkpoint is noticed or harmless: once here, 100 times in the script."""

import checkpoint_bits


def test_a_flipped_bit_in_any_file_of_a_checkpoint_is_noticed_or_harmless():
    tally = checkpoint_bits.main(flips=1)
    assert tally.failures == []
    assert tally.num_refused >= 4 and tally.num_tried >= 18
