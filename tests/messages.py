"""Messages in a table: a wrong call, and the words that its error must hold.

test_a_lesson_that_is_not_there_is_told = table(
    ValueError, ("lesson = 10: choose from 1 to 9", lambda: flow_so_far(10, {})), ...
)
"""

import inspect
from collections.abc import Callable

import pytest


def table(error: type[Exception], *rows: tuple[str, Callable]) -> Callable:
    """The test of a table: every call raises this error, in one line that holds the words, which
    are a regular expression and name the row (`pytest -k`). A call's parameters are fixtures."""

    @pytest.mark.parametrize(("words", "call"), rows, ids=[words for words, _ in rows])
    def told(words, call, request):
        given = [request.getfixturevalue(name) for name in inspect.signature(call).parameters]
        with pytest.raises(error, match=words) as found:
            call(*given)
        assert "\n" not in str(found.value)

    return told
