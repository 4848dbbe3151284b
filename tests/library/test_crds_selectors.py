"""The examples in crds's own documentation of its selectors, with the observatory registered."""

import doctest

from reference_cache import RULES

import crds_ligeriri


def test_the_selectors_of_crds_do_what_their_examples_say():
    with crds_ligeriri.session(RULES):
        from crds.core import selectors

        results = doctest.testmod(selectors, optionflags=doctest.IGNORE_EXCEPTION_DETAIL)
    assert results.failed == 0
    assert results.attempted >= 272
