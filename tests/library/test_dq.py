"""The flag table is the team's newest one."""

from drs.dq import DESCRIPTIONS, Flag, definition_table


def test_bits_of_the_newest_table():
    known = {
        "DO_NOT_USE": 0,
        "SATURATED": 1,
        "JUMP_DET": 2,
        "SUBARRAY": 8,
        "COLD": 14,
        "NO_FLAT_FIELD": 18,
        "UNRELIABLE_WS": 26,
        "FLUX_ESTIMATED": 27,
        "CROSS_BAD": 30,
        "REFERENCE_PIXEL": 31,
    }
    assert {name: Flag[name].bit_length() - 1 for name in known} == known
    assert len(Flag) == 32


def test_every_bit_is_described():
    table = definition_table()
    assert list(table["BIT"]) == list(range(32))
    assert set(DESCRIPTIONS) == set(Flag)
    assert all(len(text) <= 64 for text in DESCRIPTIONS.values())
