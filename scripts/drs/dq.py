"""Data-quality flags: one table of 32 bits for every DQ array, uint32.

The bits are those of the instrument team's newest table (liger_iris_pipeline, dqflags.py, at 89a5e1b); the
table is written into each product as `DQ_DEF`, so that a reader needs no code.
"""

from enum import IntFlag

import numpy as np


class Flag(IntFlag):
    """One data-quality condition per bit; 0 is a good pixel."""

    DO_NOT_USE = 1 << 0
    SATURATED = 1 << 1
    JUMP_DET = 1 << 2
    DROPOUT = 1 << 3
    OUTLIER = 1 << 4
    PERSISTENCE = 1 << 5
    AD_FLOOR = 1 << 6
    CHARGELOSS = 1 << 7
    SUBARRAY = 1 << 8
    NON_SCIENCE = 1 << 9
    DEAD = 1 << 10
    HOT = 1 << 11
    WARM = 1 << 12
    LOW_QE = 1 << 13
    COLD = 1 << 14
    TELEGRAPH = 1 << 15
    NONLINEAR = 1 << 16
    BAD_REF_PIXEL = 1 << 17
    NO_FLAT_FIELD = 1 << 18
    NO_GAIN_VALUE = 1 << 19
    NO_LIN_CORR = 1 << 20
    NO_SAT_CHECK = 1 << 21
    UNRELIABLE_BIAS = 1 << 22
    UNRELIABLE_DARK = 1 << 23
    UNRELIABLE_SLOPE = 1 << 24
    UNRELIABLE_FLAT = 1 << 25
    UNRELIABLE_WS = 1 << 26
    FLUX_ESTIMATED = 1 << 27
    TELLURIC = 1 << 28
    OH_LINE = 1 << 29
    CROSS_BAD = 1 << 30
    REFERENCE_PIXEL = 1 << 31


DESCRIPTIONS = {
    Flag.DO_NOT_USE: "bad pixel: no value, or one that must not be used",
    Flag.SATURATED: "saturated in at least one read",
    Flag.JUMP_DET: "a jump (cosmic ray) was found and left out of the fit",
    Flag.DROPOUT: "data lost in transmission",
    Flag.OUTLIER: "rejected as an outlier when exposures were combined",
    Flag.PERSISTENCE: "high persistence",
    Flag.AD_FLOOR: "below the floor of the A/D converter",
    Flag.CHARGELOSS: "charge migration",
    Flag.SUBARRAY: "read as part of a subarray",
    Flag.NON_SCIENCE: "not on the science portion of the detector",
    Flag.DEAD: "dead pixel",
    Flag.HOT: "hot pixel",
    Flag.WARM: "warm pixel",
    Flag.LOW_QE: "low quantum efficiency",
    Flag.COLD: "cold pixel",
    Flag.TELEGRAPH: "telegraph pixel",
    Flag.NONLINEAR: "non-linearity cannot be described",
    Flag.BAD_REF_PIXEL: "reference pixel that cannot be used",
    Flag.NO_FLAT_FIELD: "no flat value",
    Flag.NO_GAIN_VALUE: "no gain value",
    Flag.NO_LIN_CORR: "no non-linearity correction",
    Flag.NO_SAT_CHECK: "no saturation threshold",
    Flag.UNRELIABLE_BIAS: "bias with a large error",
    Flag.UNRELIABLE_DARK: "dark with a large error",
    Flag.UNRELIABLE_SLOPE: "slope with a large error",
    Flag.UNRELIABLE_FLAT: "flat with a large error",
    Flag.UNRELIABLE_WS: "unreliable wavelength solution",
    Flag.FLUX_ESTIMATED: "value interpolated from others",
    Flag.TELLURIC: "strong telluric absorption",
    Flag.OH_LINE: "bright OH line",
    Flag.CROSS_BAD: "neighbour of a bad pixel in the form of a cross",
    Flag.REFERENCE_PIXEL: "reference pixel of the detector",
}


def definition_table():
    """Return the flag table as a structured array (BIT, VALUE, NAME, DESCRIPTION), one row per bit."""
    rows = [(flag.bit_length() - 1, int(flag), flag.name, DESCRIPTIONS[flag]) for flag in Flag]
    return np.array(rows, dtype=[("BIT", "i2"), ("VALUE", "i8"), ("NAME", "U20"), ("DESCRIPTION", "U64")])
