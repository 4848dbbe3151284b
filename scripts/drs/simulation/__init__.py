"""The night simulator: scene, detector, references and Level 0 files, each with its truth.

It shares no algorithm with the reduction: projection, non-linearity and noise are written here a second time,
forwards, so that an error of sign or order in one of the two shows.
"""
