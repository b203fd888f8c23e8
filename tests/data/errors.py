"""What is said about data that cannot be used."""

from collections.abc import Callable

import pytest

from cnf.errors import DataError


def message_of(function: Callable, *arguments) -> str:
    """The one line of the DataError that a call raises."""
    with pytest.raises(DataError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)
