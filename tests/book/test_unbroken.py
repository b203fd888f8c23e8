"""No line ends between a number and its unit, or inside of an option."""

from types import SimpleNamespace

import pytest

from book._ext import unbroken

KEPT = (
    "≤·2.51·±·0.01·bits/dim; 3 seeds·±·0.002|80·% of|4·s|28.3·dB|"
    "τ =·0.8|≥·−3·nats|3 sets|12 samples|9 flows"
)


@pytest.mark.parametrize("kept", KEPT.split("|"))
def test_a_number_keeps_its_bound_error_and_unit(kept):
    plain = kept.replace("·", " ")
    assert unbroken.INSIDE.sub("·", plain) == kept


def test_an_option_that_a_cell_printed_is_one_piece():
    body = (
        '<div class="highlight-myst-ansi"><pre>cnf evaluate RUN --on embedded-sr</pre></div> --on x'
    )
    context = {"body": body}
    unbroken.keep_options(SimpleNamespace(), "page", "", context, None)
    assert context["body"] == body.replace("--on emb", '<span class="pre">--on</span> emb')
