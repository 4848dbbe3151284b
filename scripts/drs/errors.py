"""The exceptions that reach an observer: what was found, what was expected, what to do."""

import errno

# What the system says of numbers that a damaged header led to, or of a folder: no disk and no memory is the reason.
OF_DATA = (None, errno.EINVAL, errno.EOVERFLOW, errno.EISDIR)


def show(text):
    """Return a text as any terminal and JSON hold it: what is not printable is escaped, lines stay."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


class ReductionError(Exception):
    """A defect of the input or of a calibration; its text is complete and needs no traceback."""


class MachineError(OSError):
    """What went wrong beside the data: a file that vanished or changed meanwhile, a full disk; its text is complete.

    It is never a reason to refuse an input (`drs.product.mark_refusal`): the job fails, and the same command runs it
    again.
    """


def is_of_machine(error):
    """Say whether an exception tells of the machine (a vanished file, a disk, memory), and not of what a file holds."""
    if isinstance(error, MachineError | MemoryError):
        return True
    return isinstance(error, OSError) and error.errno not in OF_DATA


def began_with_machine(error):
    """Say whether one of the exceptions that led to this one, in code that wraps them, was of the machine."""
    return error is not None and (is_of_machine(error) or began_with_machine(error.__cause__ or error.__context__))
