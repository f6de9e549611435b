"""The names of pipelines on the command line."""

import pytest

from versioned_io.errors import InvalidInputError
from versioned_io.interfaces.cli.pipelining import load_pipeline


@pytest.mark.parametrize("target", ["copies", ":", "made.py:", ".made:copies", "..:copies"])
def test_a_text_that_names_no_pipeline_is_refused(target):
    with pytest.raises(InvalidInputError, match=r"write file\.py:name or module:name"):
        load_pipeline(target)
