"""The one exception that reaches an observer: what was found, what was expected, what to do."""


class ReductionError(Exception):
    """A defect of the input or of a calibration; its text is complete and needs no traceback."""
